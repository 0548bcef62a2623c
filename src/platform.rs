//! Platforms as they are asked for, and which images are for one: the operating system, the
//! architecture and its variant all count, in the manner of containerd.
//!
//! ```
//! use osimage::oci::Platform;
//! use osimage::platform::Wanted;
//! let wanted: Wanted = "linux/arm/v7".parse().unwrap();
//! let platform = |variant: &str| {
//!     let mut platform = Platform::new("linux", "arm");
//!     platform.variant = Some(variant.into());
//!     platform
//! };
//! assert!(wanted.rank(&platform("v7")) < wanted.rank(&platform("v6")));
//! assert!(wanted.rank(&platform("v8")).is_none(), "a v7 does not run it");
//! ```

use std::fmt;
use std::str::FromStr;

use crate::features::Parts;
use crate::oci::Platform;
use crate::{Error, Result};

/// The architectures that Go and containerd know; what else looks like one is taken for one too.
const ARCHITECTURES: [&str; 15] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x", "sparc64", "wasm",
];

/// The `os` of Garden Linux's images. It is a Linux under a name that no container engine asks for.
const GARDENLINUX: &str = "gardenlinux";

/// The platform that somebody asks for: `arm64`, `linux/arm64`, `linux/arm/v7`. The names that
/// kernels and distributions use (`x86_64`, `aarch64`, `armhf`) mean the same as those of Go. Beside
/// the platform, or alone, stands the name by which the flavours of a build are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    os: Option<String>,
    /// Empty where any will do.
    architecture: String,
    variant: Option<String>,
    cname: Option<String>,
}

impl Wanted {
    /// Any platform, to be told more of by [`called`](Self::called).
    pub fn any() -> Self {
        Wanted { os: None, architecture: String::new(), variant: None, cname: None }
    }

    /// Only the flavour of this canonical name, such as `gcp-gardener_prod`, with or without what a
    /// build has behind it (`-amd64-1592.3`); its architecture counts where none was said.
    #[must_use]
    pub fn called(mut self, cname: impl Into<String>) -> Self {
        let cname = cname.into();
        if self.architecture.is_empty()
            && let Some(arch) = Parts::of(&cname).arch
        {
            self.architecture = arch.to_string();
        }
        self.cname = Some(cname);
        self
    }

    /// The platform alone.
    #[must_use]
    pub fn platform(&self) -> Self {
        Wanted { cname: None, ..self.clone() }
    }

    /// The canonical name of the flavour, where one was said.
    pub fn cname(&self) -> Option<&str> {
        self.cname.as_deref()
    }

    /// Whether an image whose annotation `cname` is this is of the flavour. Where only one of the
    /// two names has an architecture or a version, the other one counts for any.
    pub fn is_flavour(&self, cname: &str) -> bool {
        let Some(wanted) = &self.cname else { return true };
        let (one, other) = (Parts::of(wanted), Parts::of(cname));
        let same = |one: Option<String>, other: Option<String>| {
            one.is_none() || other.is_none() || one == other
        };
        let text = |text: Option<&str>| text.map(str::to_owned);
        one.cname == other.cname
            && same(one.arch.map(|a| a.to_string()), other.arch.map(|a| a.to_string()))
            && same(text(one.version), text(other.version))
            && same(text(one.commit), text(other.commit))
    }

    /// The operating system, where it was said.
    pub fn os(&self) -> Option<&str> {
        self.os.as_deref()
    }

    /// The architecture, as Go names it; empty where any will do.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant of the architecture, where it was said.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well an image for `platform` fits: nothing where it does not; a smaller number fits
    /// better. The very platform comes first, then lower variants, which a machine of a higher one
    /// runs too. Garden Linux fits where a Linux is wanted, and without an operating system a
    /// Linux comes before any other.
    pub fn rank(&self, platform: &Platform) -> Option<u32> {
        let os = platform.os.to_ascii_lowercase();
        let os = match (self.os.as_deref(), os.as_str()) {
            (Some(wanted), os) if wanted == os => 0,
            (None | Some("linux"), "linux" | GARDENLINUX) => 1,
            (None, _) => 2,
            _ => return None,
        };
        if self.architecture.is_empty() {
            return Some(os);
        }
        let (architecture, variant) =
            normal(&platform.architecture, platform.variant.as_deref().unwrap_or_default());
        if architecture != self.architecture {
            return None;
        }
        let (_, wanted) = normal(&self.architecture, self.variant.as_deref().unwrap_or_default());
        let variant = if variant == wanted { 0 } else { steps_below(&wanted, &variant)? };
        Some(variant * 3 + os)
    }

    /// Whether this names the platform of an image that is to be changed or removed: what was said
    /// must be so, what was not said may be anything.
    pub fn names(&self, platform: &Platform) -> bool {
        let own = platform.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = normal(&platform.architecture, own);
        let of_os = self.os.as_deref().is_none_or(|wanted| {
            platform.os.eq_ignore_ascii_case(wanted)
                || (wanted == "linux" && platform.os == GARDENLINUX)
        });
        let of_variant = self
            .variant
            .as_deref()
            .is_none_or(|wanted| normal(&self.architecture, wanted).1 == variant);
        of_os && of_variant && architecture == self.architecture
    }
}

impl FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<_> = text.split('/').collect();
        let is_name = |part: &&str| {
            !part.is_empty()
                && part.len() <= 64
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let (os, architecture, variant) = match parts.as_slice() {
            parts if !parts.iter().all(is_name) => (None, "", None),
            [architecture] => (None, *architecture, None),
            // An architecture and its variant: containerd wants an operating system before it, but
            // nothing else can be meant.
            [architecture, variant] if is_known(architecture) => {
                (None, *architecture, Some(*variant))
            }
            [os, architecture] => (Some(*os), *architecture, None),
            [os, architecture, variant] => (Some(*os), *architecture, Some(*variant)),
            _ => (None, "", None),
        };
        if architecture.is_empty() {
            return Err(Error::usage(format!("{text:?} is not a platform"))
                .with_hint("write it as amd64, linux/arm64 or linux/arm/v7"));
        }
        let (name, implied) = alias(architecture);
        let variant = variant.map(variant_name).or_else(|| implied.map(str::to_owned));
        let os = os.map(str::to_ascii_lowercase);
        Ok(Wanted { os, architecture: name, variant, cname: None })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.os.iter().try_for_each(|os| write!(f, "{os}/"))?;
        write!(f, "{}", self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))?;
        match (&self.cname, self.architecture.is_empty()) {
            (Some(cname), true) => write!(f, "the flavour {cname}"),
            (Some(cname), false) => write!(f, " and the flavour {cname}"),
            (None, true) => f.write_str("any platform"),
            (None, false) => Ok(()),
        }
    }
}

/// Whether two platforms are one: `arm64` is `arm64/v8`.
pub fn is_same(one: &Platform, other: &Platform) -> bool {
    let key = |platform: &Platform| {
        let variant = platform.variant.as_deref().unwrap_or_default();
        (platform.os.to_ascii_lowercase(), normal(&platform.architecture, variant))
    };
    key(one) == key(other)
}

/// What stands behind the name of an index in the names of the images beside it, as ironcore-image
/// calls them: the architecture, and the variant where there is one.
pub fn tag_suffix(platform: &Platform) -> String {
    let variant = platform.variant.iter().map(|variant| format!("-{variant}"));
    format!("-{}{}", platform.architecture, variant.collect::<String>())
}

/// Whether a name is an architecture's beyond doubt.
pub(crate) fn is_known(architecture: &str) -> bool {
    ARCHITECTURES.contains(&alias(architecture).0.as_str())
}

/// The architecture that a name means, and the variant that the name implies.
fn alias(architecture: &str) -> (String, Option<&'static str>) {
    let lower = architecture.to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => ("amd64".into(), None),
        "aarch64" => ("arm64".into(), None),
        "armhf" => ("arm".into(), Some("v7")),
        "armel" => ("arm".into(), Some("v6")),
        "i386" | "i686" => ("386".into(), None),
        _ => (lower, None),
    }
}

/// A variant as containerd writes it: `7` is `v7`.
fn variant_name(variant: &str) -> String {
    let lower = variant.to_ascii_lowercase();
    if lower.starts_with(|c: char| c.is_ascii_digit()) { format!("v{lower}") } else { lower }
}

/// An architecture and its variant, so that equal ones are spelled alike: what no variant means is
/// the one that containerd takes.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, implied) = alias(architecture);
    let variant = match variant {
        "" => implied.unwrap_or_default().to_owned(),
        variant => variant_name(variant),
    };
    let variant = match (architecture.as_str(), variant.as_str()) {
        ("amd64", "v1") | ("arm64", "v8" | "v8.0") => String::new(),
        ("arm", "") => "v7".into(),
        _ => variant,
    };
    (architecture, variant)
}

/// How many steps the second variant lies below the first, where a machine of the first runs the
/// second.
fn steps_below(wanted: &str, variant: &str) -> Option<u32> {
    // What has no variant is the lowest.
    let number = |variant: &str| -> Option<(u32, u32)> {
        if variant.is_empty() {
            return Some((0, 0));
        }
        let (major, minor) =
            variant.strip_prefix('v').map(|v| v.split_once('.').unwrap_or((v, "0")))?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let (high, low) = (number(wanted)?, number(variant)?);
    let runs = low < high && (low.0 == high.0 || low.1 == 0) && high.0 < 100 && high.1 < 100;
    runs.then(|| (high.0 * 100 + high.1) - (low.0 * 100 + low.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
            ..Platform::default()
        }
    }

    #[test]
    fn the_best_that_fits_is_taken_and_nothing_else() {
        for (wanted, there, best) in [
            ("linux/arm/v6", "linux/arm/v7 linux/amd64", None),
            ("linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm/v8", Some("linux/arm/v6")),
            ("linux/arm/v7", "linux/arm/v6 linux/arm", Some("linux/arm")),
            ("linux/arm/7", "linux/arm/v6 linux/arm/v7", Some("linux/arm/v7")),
            ("arm", "linux/arm/v6 linux/arm/v8", Some("linux/arm/v6")),
            ("armhf", "linux/arm/v6 linux/arm/v7", Some("linux/arm/v7")),
            ("armel", "linux/arm/v7 linux/arm/v5", Some("linux/arm/v5")),
            ("arm/v6", "linux/arm64 linux/arm/v6", Some("linux/arm/v6")),
            ("windows/amd64", "linux/amd64", None),
            ("windows/amd64", "linux/amd64 windows/amd64", Some("windows/amd64")),
            ("amd64", "windows/amd64 linux/amd64", Some("linux/amd64")),
            ("amd64", "windows/amd64", Some("windows/amd64")),
            ("linux/amd64", "gardenlinux/amd64", Some("gardenlinux/amd64")),
            ("linux/amd64", "gardenlinux/amd64 linux/amd64", Some("linux/amd64")),
            ("gardenlinux/amd64", "linux/amd64", None),
            ("x86_64", "linux/amd64", Some("linux/amd64")),
            ("linux/x86-64", "linux/amd64", Some("linux/amd64")),
            ("amd64", "linux/x86_64", Some("linux/x86_64")),
            ("aarch64", "linux/arm64/v8", Some("linux/arm64/v8")),
            ("linux/arm64/v8", "linux/arm64", Some("linux/arm64")),
            ("linux/arm64", "linux/arm64/v9", None),
            ("linux/arm64/v9", "linux/arm64/v8 linux/arm/v7", Some("linux/arm64/v8")),
            ("linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", Some("linux/amd64/v2")),
            ("linux/amd64", "linux/amd64/v2", None),
            ("Linux/ARM64", "linux/arm64", Some("linux/arm64")),
            ("riscv64", "linux/riscv64", Some("linux/riscv64")),
            ("i386", "linux/amd64 linux/386", Some("linux/386")),
            ("amd64", "unknown/unknown", None),
        ] {
            let asked: Wanted = wanted.parse().unwrap();
            let found = there
                .split(' ')
                .filter_map(|text| Some((asked.rank(&platform(text))?, text)))
                .min()
                .map(|(_, text)| text);
            assert_eq!(found, best, "{wanted} of {there}");
        }
    }

    #[test]
    fn what_is_changed_is_named_exactly() {
        for (wanted, there, names) in [
            ("arm/v7", "linux/arm/v6", false),
            ("arm/v7", "linux/arm", true),
            ("arm", "linux/arm/v6", true),
            ("arm64", "linux/arm64/v8", true),
            ("arm64/v8", "linux/arm64", true),
            ("linux/amd64", "gardenlinux/amd64", true),
            ("windows/amd64", "linux/amd64", false),
            ("x86_64", "gardenlinux/amd64", true),
        ] {
            let wanted: Wanted = wanted.parse().unwrap();
            assert_eq!(wanted.names(&platform(there)), names, "{wanted} {there}");
        }
        assert!(is_same(&platform("linux/arm64"), &platform("linux/aarch64/v8")));
        assert!(!is_same(&platform("linux/arm/v6"), &platform("linux/arm/v7")));
    }

    #[test]
    fn a_flavour_is_named_with_or_without_its_architecture_and_version() {
        for (wanted, cname, same) in [
            ("gcp_oci", "gcp_oci", true),
            ("gcp_oci", "gcp_oci-amd64", true),
            ("gcp_oci", "gcp_oci-amd64-1592.3-0a1b2c3d", true),
            ("gcp_oci-amd64", "gcp_oci-amd64-1592.3", true),
            ("gcp_oci-amd64-1592.3", "gcp_oci", true),
            ("gcp_oci-arm64", "gcp_oci-amd64", false),
            ("gcp_oci-amd64-1592.2", "gcp_oci-amd64-1592.3", false),
            ("gcp", "gcp_oci", false),
            ("gcp-gardener_oci", "gcp_oci", false),
        ] {
            assert_eq!(Wanted::any().called(wanted).is_flavour(cname), same, "{wanted} {cname}");
        }
        assert!(Wanted::any().is_flavour("gcp"));
        assert_eq!(Wanted::any().rank(&platform("linux/arm/v6")), Some(1));
        let both = "arm64".parse::<Wanted>().unwrap().called("gcp");
        assert_eq!(both.to_string(), "arm64 and the flavour gcp");
        assert_eq!(Wanted::any().called("gcp").to_string(), "the flavour gcp");
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for bad in
            ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "am\u{1b}d", "linux//v7"]
        {
            assert!(bad.parse::<Wanted>().is_err(), "{bad:?}");
        }
        for (text, shown) in
            [("linux/ARM/7", "linux/arm/v7"), ("armhf", "arm/v7"), ("x86_64", "amd64")]
        {
            assert_eq!(text.parse::<Wanted>().unwrap().to_string(), shown);
        }
    }
}
