//! What a path asks for. It is parsed once, strictly, and without knowing what there is: what comes
//! out has names in it, and no text that could lead elsewhere.

use std::str::FromStr;

use super::sysupdate::Updates;
use crate::digest::{Algorithm, Digest};
use crate::names::{Host, RepositoryName, Tag, TagOrDigest};
use crate::platform::{self, Wanted};

/// The longest path that is read, in bytes, as it comes.
pub(super) const MAX_PATH: usize = 2048;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Route {
    /// The page for people.
    Page,
    /// Whether the server is well.
    Health,
    /// Its counters.
    Metrics,
    /// A file of an image.
    Boot { image: Image, wanted: Option<Wanted>, file: String },
    /// What a registry answers (distribution-spec).
    Registry(Api),
    /// The script of a machine.
    Script(Machine),
    /// A file for systemd-sysupdate.
    Sysupdate(Updates),
    /// A layer, as ironcore's boot-operator names it; by its digest, and by the image that has it.
    Layer { repository: RepositoryName, digest: Digest, image: Option<Tag> },
}

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Machine {
    pub uuid: Option<String>,
    pub mac: Option<String>,
    pub arch: Option<String>,
}

impl Machine {
    /// What is known of it, as it stands in a record.
    pub fn shown(&self) -> String {
        let fields = [("uuid", &self.uuid), ("mac", &self.mac), ("arch", &self.arch)];
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.' | '_');
        let given = fields.into_iter().filter_map(|(name, value)| {
            let value: String = value.as_ref()?.chars().filter(plain).take(64).collect();
            Some(format!("{name}={value}"))
        });
        given.collect::<Vec<_>>().join("&")
    }
}

/// What is asked of a registry.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Api {
    /// Whether it is one.
    Base,
    /// A manifest or an index.
    Manifest(Image),
    /// A blob.
    Blob(RepositoryName, Digest),
    /// The tags of a repository.
    Tags(RepositoryName),
    /// What is attached to an image.
    Referrers(RepositoryName, Digest),
    /// Nothing that can be: what is wrong, by its code (distribution-spec, "Error Codes").
    Wrong(&'static str),
}

/// An image, as a path names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// Where it lies.
    pub repository: RepositoryName,
    /// Which one.
    pub wanted: TagOrDigest,
}

/// Reads a path, as it stands in a request; `None` where it is none of ours. `query` is what stands
/// behind its `?`.
pub(super) fn parse(path: &str, query: &str) -> Option<Route> {
    if path.len() > MAX_PATH {
        return None;
    }
    if matches!(path, "/v2" | "/v2/") {
        return Some(Route::Registry(Api::Base));
    }
    let parts = decoded(path)?;
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [""] => Some(Route::Page),
        ["healthz"] => Some(Route::Health),
        ["metrics"] => Some(Route::Metrics),
        ["boot", rest @ ..] => boot(rest),
        ["boot.ipxe"] => {
            let of = |name| parameter(query, name).filter(|value| !value.is_empty());
            let (uuid, mac, arch) = (of("uuid"), of("mac"), of("arch"));
            Some(Route::Script(Machine { uuid, mac, arch }))
        }
        ["sysupdate", rest @ ..] => updates(rest).map(Route::Sysupdate),
        ["image"] => {
            let of = |name| parameter(query, name);
            let (digest, tag) = (of("layerDigest")?.parse().ok()?, of("version")?.parse().ok()?);
            let repository = of("imageName")?.parse().ok()?;
            Some(Route::Layer { repository, digest, image: Some(tag) })
        }
        ["httpboot", name @ .., file] => {
            let TagOrDigest::Digest(digest) = tag_or_digest(file.strip_suffix(".efi")?)? else {
                return None;
            };
            Some(Route::Layer { repository: repository(name)?, digest, image: None })
        }
        ["v2", rest @ ..] => Some(Route::Registry(api(rest, query))),
        _ => None,
    }
}

/// The value of a parameter, decoded.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// What is asked of a registry. The name of a repository begins with the host of its registry,
/// whose port stands behind `_`, since a name has no colon; clients that stand before several
/// registries say the host in the parameter `ns`.
fn api(parts: &[&str], query: &str) -> Api {
    let named = |name: &[&str]| match parameter(query, "ns") {
        Some(host) => RepositoryName::new(host.parse().ok()?, &name.join("/")).ok(),
        None => {
            let (host, path) = name.split_first()?;
            let (host, path) = (with_port(host).parse().ok()?, path.join("/"));
            RepositoryName::new(host, &path).ok()
        }
    };
    let known = |name, api: &dyn Fn(RepositoryName) -> Option<Api>, wrong| match named(name) {
        None => Api::Wrong("NAME_INVALID"),
        Some(repository) => api(repository).unwrap_or(Api::Wrong(wrong)),
    };
    match parts {
        [name @ .., "manifests", wanted] => {
            let image = |repository| {
                let wanted = match wanted.contains(':') {
                    true => TagOrDigest::Digest(wanted.parse().ok()?),
                    false => TagOrDigest::Tag(wanted.parse().ok()?),
                };
                Some(Api::Manifest(Image { repository, wanted }))
            };
            known(name, &image, "MANIFEST_UNKNOWN")
        }
        [name @ .., "blobs", digest] => {
            known(name, &|it| Some(Api::Blob(it, digest.parse().ok()?)), "DIGEST_INVALID")
        }
        [name @ .., "tags", "list"] => known(name, &|it| Some(Api::Tags(it)), "NAME_INVALID"),
        [name @ .., "referrers", digest] => {
            known(name, &|it| Some(Api::Referrers(it, digest.parse().ok()?)), "DIGEST_INVALID")
        }
        _ => Api::Wrong("UNSUPPORTED"),
    }
}

/// A host whose port stands behind an underscore.
fn with_port(host: &str) -> String {
    match host.rsplit_once('_') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{name}:{port}")
        }
        _ => host.to_owned(),
    }
}

/// The parts between slashes, each decoded once (RFC 3986, 2.1). A part that is empty, or a dot, or
/// that has what separates parts or steers a terminal, is in no path of ours.
fn decoded(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(vec![String::new()]);
    }
    path.split('/').map(decode).collect()
}

fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).ok()?;
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\');
    let is_odd = text.is_empty() || matches!(text.as_str(), "." | "..") || text.contains(odd);
    (!is_odd).then_some(text)
}

/// `HOST/REPO/TAG-or-DIGEST[/ARCH]/FILE`. A part before the file that is an architecture's name is
/// taken for one where enough is left for the rest.
fn boot(parts: &[&str]) -> Option<Route> {
    let (file, rest) = parts.split_last()?;
    let with_arch = || {
        let (arch, rest) = rest.split_last()?;
        let wanted = architecture(arch)?;
        Some((image(rest)?, Some(wanted)))
    };
    let (image, wanted) = with_arch().or_else(|| Some((image(rest)?, None)))?;
    Some(Route::Boot { image, wanted, file: (*file).to_owned() })
}

/// `HOST/REPO[/CHANNEL][/ARCH]/FILE`.
fn updates(parts: &[&str]) -> Option<Updates> {
    let (file, rest) = parts.split_last()?;
    let with_arch = || {
        let (arch, rest) = rest.split_last()?;
        Some((repository(rest)?, rest, Some(architecture(arch)?)))
    };
    let (whole, rest, wanted) = with_arch().or_else(|| Some((repository(rest)?, rest, None)))?;
    let channel = || {
        let (channel, rest) = rest.split_last()?;
        Some((repository(rest)?, channel.parse().ok()?))
    };
    Some(Updates { whole, channel: channel(), wanted, file: (*file).to_owned() })
}

/// The architecture that a part of a path names.
pub(super) fn architecture(text: &str) -> Option<Wanted> {
    if !platform::is_known(text) {
        return None;
    }
    text.parse().ok()
}

/// `HOST/REPO/TAG-or-DIGEST`.
fn image(parts: &[&str]) -> Option<Image> {
    let (wanted, name) = parts.split_last()?;
    Some(Image { repository: repository(name)?, wanted: tag_or_digest(wanted)? })
}

/// `HOST/REPO`.
pub(super) fn repository(parts: &[&str]) -> Option<RepositoryName> {
    let (host, path) = parts.split_first()?;
    RepositoryName::new(Host::from_str(host).ok()?, &path.join("/")).ok()
}

/// A digest may stand with a dash for its colon, which loaders take for the end of a scheme.
pub(super) fn tag_or_digest(text: &str) -> Option<TagOrDigest> {
    let of_dash = || {
        let (name, hex) = text.split_once('-')?;
        Digest::from_parts(Algorithm::from_name(name)?, hex).ok()
    };
    match text.contains(':') {
        true => text.parse().ok().map(TagOrDigest::Digest),
        false => match of_dash() {
            Some(digest) => Some(TagOrDigest::Digest(digest)),
            None => text.parse::<Tag>().ok().map(TagOrDigest::Tag),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44dd616962d17884bd3609443a3c62b94d423fd1513a40098ffa1a1f75495fd5";

    fn shown(path: &str) -> Option<String> {
        let Route::Boot { image, wanted, file } = parse(path, "")? else {
            return parse(path, "").map(|route| format!("{route:?}"));
        };
        let arch = wanted.map_or_else(|| "-".to_owned(), |wanted| wanted.to_string());
        Some(format!("{} {} {arch} {file}", image.repository, image.wanted))
    }

    #[test]
    fn paths() {
        let digest = format!("h.io/os sha256:{HEX} - vmlinuz");
        for (path, expected) in [
            ("/", Some("Page")),
            ("/healthz", Some("Health")),
            ("/metrics", Some("Metrics")),
            ("/boot/h.io/os/1.0/amd64/vmlinuz", Some("h.io/os 1.0 amd64 vmlinuz")),
            ("/boot/h.io/os/1.0/x86_64/vmlinuz", Some("h.io/os 1.0 amd64 vmlinuz")),
            ("/boot/h.io/os/1.0/aarch64/vmlinuz", Some("h.io/os 1.0 arm64 vmlinuz")),
            ("/boot/h.io/a/b/os/1.0/vmlinuz", Some("h.io/a/b/os 1.0 - vmlinuz")),
            ("/boot/localhost:5000/os/1.0/initrd", Some("localhost:5000/os 1.0 - initrd")),
            ("/boot/localhost%3A5000/os/1.0/initrd", Some("localhost:5000/os 1.0 - initrd")),
            ("/boot/localhost%3a5000/os/1%2E0/initrd", Some("localhost:5000/os 1.0 - initrd")),
            // A tag that is called as an architecture.
            ("/boot/h.io/os/amd64/vmlinuz", Some("h.io/os amd64 - vmlinuz")),
            ("/boot/h.io/os/amd64/amd64/vmlinuz", Some("h.io/os amd64 amd64 vmlinuz")),
            (&format!("/boot/h.io/os/sha256:{HEX}/vmlinuz"), Some(&*digest)),
            (&format!("/boot/h.io/os/sha256%3A{HEX}/vmlinuz"), Some(&*digest)),
            (&format!("/boot/h.io/os/sha256-{HEX}/vmlinuz"), Some(&*digest)),
        ] {
            assert_eq!(shown(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_updaters_loaders_and_operators_ask() {
        let shown = |path: &str, query: &str| match parse(path, query)? {
            Route::Script(machine) => Some(machine.shown()),
            Route::Layer { repository, digest, image } => {
                let image = image.map_or_else(String::new, |tag| format!(":{tag}"));
                Some(format!("{repository}{image} {}", digest.short()))
            }
            Route::Sysupdate(Updates { whole, channel, wanted, file }) => {
                let channel = channel.map(|(name, tag)| format!("{name}:{tag}"));
                let (channel, wanted) =
                    (channel.unwrap_or_default(), wanted.map(|it| it.to_string()));
                Some(format!("{whole} {channel} {} {file}", wanted.unwrap_or_default()))
            }
            other => panic!("{other:?}"),
        };
        let short = &HEX[..12];
        for (path, query, expected) in [
            ("/boot.ipxe", "", Some(String::new())),
            (
                "/boot.ipxe",
                "uuid=&mac=52%3A54&arch=x86_64&x=y",
                Some("mac=52:54&arch=x86_64".into()),
            ),
            ("/boot.ipxe", "uuid=a%0ab%20c", Some("uuid=abc".into())),
            ("/sysupdate/h.io/os/SHA256SUMS", "", Some("h.io/os   SHA256SUMS".into())),
            (
                "/sysupdate/h.io/me/os/SHA256SUMS",
                "",
                Some("h.io/me/os h.io/me:os  SHA256SUMS".into()),
            ),
            (
                "/sysupdate/h.io/os/stable/arm64/os_1.0.uki.efi",
                "",
                Some("h.io/os/stable h.io/os:stable arm64 os_1.0.uki.efi".into()),
            ),
            ("/sysupdate/h.io/SHA256SUMS", "", None),
            ("/sysupdate/h.io/os/-x/SHA256SUMS", "", None),
            (
                "/image",
                &format!("imageName=h.io/me/os&version=1.0&layerDigest=sha256:{HEX}"),
                Some(format!("h.io/me/os:1.0 {short}")),
            ),
            ("/image", "imageName=h.io/me/os&version=1.0", None),
            ("/image", &format!("imageName=h.io/me/os&layerDigest=sha256:{HEX}"), None),
            (
                &format!("/httpboot/h.io/me/os/sha256-{HEX}.efi"),
                "",
                Some(format!("h.io/me/os {short}")),
            ),
            (&format!("/httpboot/h.io/me/os/sha256-{HEX}"), "", None),
            ("/httpboot/h.io/me/os/1.0.efi", "", None),
        ] {
            assert_eq!(shown(path, query), expected, "{path}?{query}");
        }
    }

    #[test]
    fn what_a_registry_is_asked() {
        let digest = format!("sha256:{HEX}");
        for (path, query, expected) in [
            ("/v2", "", "base"),
            ("/v2/", "", "base"),
            ("/v2/h.io/me/os/manifests/1.0", "", "manifest h.io/me/os 1.0"),
            ("/v2/me/os/manifests/1.0", "ns=h.io", "manifest h.io/me/os 1.0"),
            ("/v2/me/os/manifests/1.0", "ns=h.io%3A5000", "manifest h.io:5000/me/os 1.0"),
            ("/v2/127.0.0.1_5000/os/manifests/1.0", "", "manifest 127.0.0.1:5000/os 1.0"),
            ("/v2/my_host/os/manifests/1.0", "", "manifest my_host/os 1.0"),
            ("/v2/h.io/manifests/manifests/1.0", "", "manifest h.io/manifests 1.0"),
            ("/v2/h.io/os/manifests/D", "", "manifest h.io/os D"),
            ("/v2/h.io/os/blobs/D", "", "blob h.io/os D"),
            ("/v2/h.io/os/tags/list", "n=5", "tags h.io/os"),
            ("/v2/h.io/os/referrers/D", "", "referrers h.io/os D"),
            ("/v2/h.io/os/blobs/sha256:00", "", "DIGEST_INVALID"),
            ("/v2/h.io/os/blobs/1.0", "", "DIGEST_INVALID"),
            ("/v2/h.io/os/manifests/-x", "", "MANIFEST_UNKNOWN"),
            ("/v2/h.io/os/manifests/sha256:00", "", "MANIFEST_UNKNOWN"),
            ("/v2/h.io/Os/manifests/1.0", "", "NAME_INVALID"),
            ("/v2/os/manifests/1.0", "", "NAME_INVALID"),
            ("/v2/me/os/manifests/1.0", "ns=a/b", "NAME_INVALID"),
            ("/v2/manifests/1.0", "", "NAME_INVALID"),
            ("/v2/h.io/os/blobs/uploads", "", "DIGEST_INVALID"),
            ("/v2/_catalog", "", "UNSUPPORTED"),
            ("/v2/h.io/os", "", "UNSUPPORTED"),
        ] {
            let path = path.replace('D', &digest);
            let Some(Route::Registry(api)) = parse(&path, query) else { panic!("{path}") };
            let shown = match api {
                Api::Base => "base".to_owned(),
                Api::Manifest(it) => format!("manifest {} {}", it.repository, it.wanted),
                Api::Blob(name, digest) => format!("blob {name} {digest}"),
                Api::Tags(name) => format!("tags {name}"),
                Api::Referrers(name, digest) => format!("referrers {name} {digest}"),
                Api::Wrong(code) => code.to_owned(),
            };
            let expected = match expected.ends_with(" D") {
                true => expected.replace('D', &digest),
                false => expected.to_owned(),
            };
            assert_eq!(shown, expected, "{path}?{query}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_path() {
        let long = format!("/boot/h.io/{}/1.0/vmlinuz", "a/".repeat(MAX_PATH));
        for path in [
            "",
            "boot",
            "//",
            "/boot",
            "/boot/",
            "/boot/h.io/os/1.0/",
            "/boot/h.io//os/1.0/vmlinuz",
            "/boot/h.io/../os/1.0/vmlinuz",
            "/boot/h.io/os/1.0/..",
            "/boot/h.io/os/1.0/%2e%2e",
            "/boot/h.io/os/1.0/%2e%2E%2fvmlinuz",
            "/boot/h.io/o%2fs/1.0/vmlinuz",
            "/boot/h.io/os/1.0/a%5cb",
            "/boot/h.io/os/1.0/%00",
            "/boot/h.io/os/1.0/%0d%0aX:y",
            "/boot/h.io/os/1.0/%",
            "/boot/h.io/os/1.0/%4",
            "/boot/h.io/os/1.0/%zz",
            "/boot/h.io/os/1.0/%+1",
            "/boot/h.io/os/1.0/%ff",
            "/boot/user@h.io/os/1.0/vmlinuz",
            "/boot/h.io:x/os/1.0/vmlinuz",
            "/boot/http:/h.io/os/1.0/vmlinuz",
            "/boot/h.io/OS/1.0/vmlinuz",
            "/boot/h.io/os/-x/vmlinuz",
            "/boot/h.io/os/md5:00/vmlinuz",
            "/boot/h.io/os/sha256:00/vmlinuz",
            "/boot/h.io/os%3Fx/1.0/vmlinuz",
            "/boot/os/1.0",
            "/etc/passwd",
            "/healthz/",
            &long,
        ] {
            assert_eq!(shown(path), None, "{path}");
        }
    }
}
