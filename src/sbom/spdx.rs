//! A bill of materials in SPDX 2.3 (JSON).

use serde::Serialize;

use super::{Inventory, Licence, Package, Root, json, name_and_mail, purl, web_address};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const SYSTEM: &str = "SPDXRef-system";
/// What SPDX says where nothing is known.
const NOTHING: &str = "NOASSERTION";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: Creation<'a>,
    packages: Vec<Entry<'a>>,
    #[serde(rename = "hasExtractedLicensingInfos", skip_serializing_if = "Vec::is_empty")]
    licences: Vec<Extracted<'a>>,
    relationships: Vec<Relationship<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Creation<'a> {
    created: &'a str,
    creators: [String; 1],
    license_list_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    name: &'a str,
    #[serde(rename = "SPDXID")]
    id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    version_info: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_comments: Option<&'a str>,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<Reference>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extracted<'a> {
    license_id: &'a str,
    name: &'a str,
    extracted_text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship<'a> {
    spdx_element_id: &'a str,
    relationship_type: &'static str,
    related_spdx_element: &'a str,
}

/// The document with that UUID.
pub(super) fn write(inventory: &Inventory, root: &Root, uuid: &str) -> String {
    let ids: Vec<_> = inventory.packages.iter().map(id).collect();
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", SYSTEM)];
    relationships.extend(ids.iter().map(|id| relationship(SYSTEM, "CONTAINS", id)));
    for (at, needed) in inventory.depends.iter().enumerate() {
        let needed = needed.iter().map(|other| relationship(&ids[at], "DEPENDS_ON", &ids[*other]));
        relationships.extend(needed);
    }
    let packages = inventory.packages.iter().zip(&ids);
    let licences = inventory.own_licences.iter().map(|(id, own)| Extracted {
        license_id: id,
        name: &own.name,
        extracted_text: &own.text,
    });
    let (list, _) = spdx::identifiers::VERSION.rsplit_once('.').unwrap_or_default();
    json(&Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: root.name,
        document_namespace: format!(
            "https://spdx.org/spdxdocs/{}-{uuid}",
            purl::encoded(root.name)
        ),
        creation_info: Creation {
            created: &root.created,
            creators: [format!("Tool: osimage-{}", env!("CARGO_PKG_VERSION"))],
            license_list_version: list,
        },
        packages: std::iter::once(system(inventory, root))
            .chain(packages.map(|(package, id)| entry(inventory, package, id)))
            .collect(),
        licences: licences.collect(),
        relationships,
    })
}

fn relationship<'a>(from: &'a str, kind: &'static str, to: &'a str) -> Relationship<'a> {
    Relationship { spdx_element_id: from, relationship_type: kind, related_spdx_element: to }
}

/// The system as a whole.
fn system<'a>(inventory: &'a Inventory, root: &Root<'a>) -> Entry<'a> {
    Entry {
        name: root.name,
        id: SYSTEM.to_owned(),
        version_info: root.version.map_or("", String::as_str),
        supplier: None,
        download_location: NOTHING,
        files_analyzed: false,
        homepage: None,
        source_info: None,
        license_concluded: NOTHING,
        license_declared: NOTHING,
        license_comments: None,
        copyright_text: NOTHING,
        summary: inventory.system.pretty_name.as_deref(),
        comment: None,
        primary_package_purpose: Some("OPERATING-SYSTEM"),
        external_refs: Vec::new(),
    }
}

fn entry<'a>(inventory: &Inventory, package: &'a Package, id: &str) -> Entry<'a> {
    let (license_declared, license_comments) = match &package.licence {
        Licence::Declared(expression) => (expression.as_str(), None),
        Licence::Unknown(why) => (NOTHING, Some(why.as_str())),
    };
    let source = format!("{} {}", package.source, package.source_version);
    Entry {
        name: &package.name,
        id: id.to_owned(),
        version_info: &package.version,
        supplier: package.maintainer.as_deref().map(supplier),
        download_location: NOTHING,
        files_analyzed: false,
        homepage: package.homepage.as_deref().and_then(web_address),
        source_info: Some(format!("built package from: {}", source.trim())),
        license_concluded: NOTHING,
        license_declared,
        license_comments,
        copyright_text: NOTHING,
        summary: package.summary.as_deref(),
        comment: (package.state != "installed").then(|| format!("dpkg: {}", package.state)),
        primary_package_purpose: None,
        external_refs: vec![Reference {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: purl::of(package, &inventory.system),
        }],
    }
}

/// Most of Debian's maintainers are teams; a name alone does not tell.
fn supplier(maintainer: &str) -> String {
    match name_and_mail(maintainer) {
        (name, Some(mail)) => format!("Organization: {name} ({mail})"),
        (name, None) => format!("Organization: {name}"),
    }
}

/// An identifier of letters, digits, `.` and `-`. An architecture has no dot and a name nothing in
/// upper case, so that no two packages have the same.
fn id(package: &Package) -> String {
    let name = package.name.replace('+', "Plus").replace('_', "Underscore");
    format!("SPDXRef-deb.{}.{name}", package.architecture)
}
