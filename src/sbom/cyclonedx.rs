//! A bill of materials in CycloneDX 1.6 (JSON).

use serde::Serialize;

use super::{Inventory, Licence, Package, Root, json, name_and_mail, purl, web_address};

/// What refers to the system as a whole; no package URL is called so.
const SYSTEM: &str = "system";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: &'a str,
    tools: Tools<'a>,
    component: Component<'a>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [Component<'a>; 1],
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    r#type: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Supplier<'a>>,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licenses: Option<[Expression<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pedigree: Option<Pedigree<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<External>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property<'a>>,
}

#[derive(Serialize)]
struct Supplier<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contact: Vec<Contact<'a>>,
}

#[derive(Serialize)]
struct Contact<'a> {
    email: &'a str,
}

#[derive(Serialize)]
struct Expression<'a> {
    expression: &'a str,
}

/// What a component was made from.
#[derive(Serialize)]
struct Pedigree<'a> {
    ancestors: [Ancestor<'a>; 1],
}

#[derive(Serialize)]
struct Ancestor<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    purl: String,
}

#[derive(Serialize)]
struct External {
    r#type: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Property<'a> {
    name: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency<'a> {
    r#ref: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
}

/// The document with that UUID.
pub(super) fn write(inventory: &Inventory, root: &Root, uuid: &str) -> String {
    let purls: Vec<_> =
        inventory.packages.iter().map(|package| purl::of(package, &inventory.system)).collect();
    let all = Dependency { r#ref: SYSTEM, depends_on: purls.iter().map(String::as_str).collect() };
    let dependencies = purls.iter().zip(&inventory.depends).map(|(purl, needed)| Dependency {
        r#ref: purl,
        depends_on: needed.iter().map(|other| purls[*other].as_str()).collect(),
    });
    let packages = inventory.packages.iter().zip(&purls);
    json(&Document {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{uuid}"),
        version: 1,
        metadata: Metadata {
            timestamp: &root.created,
            tools: Tools {
                components: [Component {
                    r#type: "application",
                    name: "osimage",
                    version: env!("CARGO_PKG_VERSION"),
                    ..Component::default()
                }],
            },
            component: Component {
                r#type: "operating-system",
                reference: Some(SYSTEM),
                name: root.name,
                version: root.version.map_or("", String::as_str),
                description: inventory.system.pretty_name.as_deref(),
                ..Component::default()
            },
        },
        components: packages.map(|(package, purl)| component(inventory, package, purl)).collect(),
        dependencies: std::iter::once(all).chain(dependencies).collect(),
    })
}

fn component<'a>(inventory: &Inventory, package: &'a Package, purl: &'a str) -> Component<'a> {
    let mut properties = Vec::new();
    if package.state != "installed" {
        properties.push(Property { name: "osimage:dpkg:state", value: &package.state });
    }
    let licenses = match &package.licence {
        Licence::Declared(expression) => Some([Expression { expression }]),
        Licence::Unknown(why) => {
            properties.push(Property { name: "osimage:licence:unknown", value: why });
            None
        }
    };
    let supplier = package.maintainer.as_deref().map(|maintainer| {
        let (name, mail) = name_and_mail(maintainer);
        Supplier { name, contact: mail.into_iter().map(|email| Contact { email }).collect() }
    });
    let homepage = package.homepage.as_deref().and_then(web_address);
    Component {
        r#type: "library",
        reference: Some(purl),
        supplier,
        name: &package.name,
        version: &package.version,
        description: package.summary.as_deref(),
        licenses,
        purl: Some(purl),
        pedigree: Some(Pedigree {
            ancestors: [Ancestor {
                r#type: "library",
                name: &package.source,
                version: &package.source_version,
                purl: purl::of_source(package, &inventory.system),
            }],
        }),
        external_references: homepage
            .map(|url| External { r#type: "website", url })
            .into_iter()
            .collect(),
        properties,
    }
}
