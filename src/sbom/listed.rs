//! What a system has in packages by a list that somebody left: a build's own, a line each, or a bill
//! of materials in SPDX 2 or CycloneDX, whoever made it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Packages by their names, each with its versions: mostly one, but some tools list more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed(BTreeMap<String, BTreeSet<String>>);

/// A document that lists packages. Other fields are passed over; a bill may have any.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spdx {
    spdx_version: String,
    #[serde(default)]
    packages: Vec<SpdxPackage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage {
    name: String,
    #[serde(default)]
    version_info: Option<String>,
    #[serde(default)]
    external_refs: Vec<SpdxReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxReference {
    reference_type: String,
    reference_locator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CycloneDx {
    bom_format: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    purl: Option<String>,
}

impl Listed {
    /// Reads lines of a name and a version, as dpkg-query and Garden Linux write them. An
    /// architecture behind the name, `libc6:amd64`, is no part of it.
    ///
    /// # Errors
    /// What a line is that has another form.
    pub fn of_lines(text: &str) -> Result<Self, String> {
        let mut listed = Listed::default();
        for (n, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (None, ..) => {}
                (Some(name), Some(version), None) => {
                    listed.add(name.split_once(':').map_or(name, |(name, _)| name), version);
                }
                _ => return Err(format!("line {} is not a name and a version", n + 1)),
            }
        }
        Ok(listed)
    }

    /// Reads a bill of materials in SPDX 2 (JSON). What has no package URL, as the system itself, is
    /// no package; nor are sources.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn of_spdx(json: &[u8]) -> Result<Self, String> {
        let document: Spdx = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if !document.spdx_version.starts_with("SPDX-2.") {
            return Err(format!("it is {}, not SPDX 2", document.spdx_version));
        }
        let mut listed = Listed::default();
        for package in document.packages {
            let urls = package.external_refs.iter().filter(|it| it.reference_type == "purl");
            if urls.map(|it| it.reference_locator.as_str()).any(is_installed) {
                listed.add(&package.name, package.version_info.as_deref().unwrap_or_default());
            }
        }
        Ok(listed)
    }

    /// Reads a bill of materials in CycloneDX (JSON): the components that have a package URL.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn of_cyclone_dx(json: &[u8]) -> Result<Self, String> {
        let document: CycloneDx = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if document.bom_format != "CycloneDX" {
            return Err(format!("it is {}, not CycloneDX", document.bom_format));
        }
        let mut listed = Listed::default();
        for component in document.components {
            if component.purl.as_deref().is_some_and(is_installed) {
                listed.add(&component.name, component.version.as_deref().unwrap_or_default());
            }
        }
        Ok(listed)
    }

    fn add(&mut self, name: &str, version: &str) {
        self.0.entry(name.to_owned()).or_default().insert(version.to_owned());
    }

    /// The packages in the order of their names, each with its versions.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.0.iter().map(|(name, versions)| (name.as_str(), versions))
    }

    /// The versions of a package; `None` where it is not there.
    pub fn versions(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.0.get(name)
    }
}

/// Whether a package URL is of something that is installed, and not of its source.
fn is_installed(url: &str) -> bool {
    let qualifiers = url.split_once('?').map_or("", |(_, rest)| rest);
    url.starts_with("pkg:") && !qualifiers.split('&').any(|one| one == "arch=source")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(packages: &[(&str, &str)]) -> Listed {
        let mut listed = Listed::default();
        packages.iter().for_each(|(name, version)| listed.add(name, version));
        listed
    }

    #[test]
    fn lists_in_every_form_say_the_same() {
        let expected = listed(&[("bash", "5.2-1"), ("libc6", "2.36-9")]);
        let lines = "bash 5.2-1\n\nlibc6:amd64\t2.36-9\nlibc6:i386 2.36-9\n";
        assert_eq!(Listed::of_lines(lines).unwrap(), expected);
        let spdx = br#"{"spdxVersion":"SPDX-2.3","packages":[
            {"name":"os","versionInfo":"1.0"},
            {"name":"bash","versionInfo":"5.2-1","externalRefs":[
                {"referenceType":"purl","referenceLocator":"pkg:deb/debian/bash@5.2-1?arch=amd64"}]},
            {"name":"glibc","versionInfo":"2.36-9","externalRefs":[
                {"referenceType":"purl","referenceLocator":"pkg:deb/debian/glibc@2?arch=source"}]},
            {"name":"libc6","versionInfo":"2.36-9","externalRefs":[
                {"referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a:b"},
                {"referenceType":"purl","referenceLocator":"pkg:deb/debian/libc6@2.36-9"}]}]}"#;
        assert_eq!(Listed::of_spdx(spdx).unwrap(), expected);
        let cyclone_dx = br#"{"bomFormat":"CycloneDX","components":[
            {"name":"os","type":"operating-system","version":"12"},
            {"name":"bash","version":"5.2-1","purl":"pkg:deb/debian/bash@5.2-1?arch=amd64"},
            {"name":"libc6","version":"2.36-9","purl":"pkg:deb/debian/libc6@2.36-9"}]}"#;
        assert_eq!(Listed::of_cyclone_dx(cyclone_dx).unwrap(), expected);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for (found, why) in [
            (Listed::of_lines("bash 5.2-1\nno"), "line 2"),
            (Listed::of_lines("a b c"), "line 1"),
            (Listed::of_spdx(b"{}"), "spdxVersion"),
            (Listed::of_spdx(br#"{"spdxVersion":"SPDX-3.0","packages":[]}"#), "SPDX-3.0"),
            (Listed::of_spdx(br#"{"spdxVersion":"SPDX-2.3","packages":[{}]}"#), "name"),
            (Listed::of_cyclone_dx(br#"{"bomFormat":"x"}"#), "not CycloneDX"),
            (Listed::of_cyclone_dx(b"["), "EOF"),
        ] {
            let error = found.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
