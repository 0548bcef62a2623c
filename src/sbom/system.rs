//! What a system says of itself (os-release(5)).

use crate::rootfs::os_release;

/// What of that a bill of materials tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// The distribution, such as `debian`.
    pub(super) id: String,
    /// Its release, by its number or else by its name.
    release: Option<String>,
    /// What was built, and its version.
    pub(super) image: Option<String>,
    pub(super) image_version: Option<String>,
    /// In words: `Debian GNU/Linux 12 (bookworm)`.
    pub(super) pretty_name: Option<String>,
}

impl System {
    pub(super) fn parse(text: &str) -> Self {
        let mut values = os_release(text);
        let mut take = |name: &str| values.remove(name).filter(|value| !value.is_empty());
        let id = take("ID").map(|id| id.to_lowercase());
        System {
            // What os-release(5) has where nothing is said.
            id: id.unwrap_or_else(|| "linux".to_owned()),
            release: take("VERSION_ID").or_else(|| take("VERSION_CODENAME")),
            image: take("OSIMAGE_CNAME").or_else(|| take("IMAGE_ID")),
            image_version: take("IMAGE_VERSION"),
            pretty_name: take("PRETTY_NAME"),
        }
    }

    /// The distribution and its release as scanners know them: `debian-12`.
    pub(super) fn distribution(&self) -> String {
        match &self.release {
            Some(release) => format!("{}-{release}", self.id),
            None => self.id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_distribution_it_is() {
        for (text, expected) in [
            ("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n", "debian-12"),
            ("ID=debian\nVERSION_CODENAME=sid\n", "debian-sid"),
            ("ID=Garden-Linux\nVERSION_ID='1592.3'\n", "garden-linux-1592.3"),
            ("ID=debian\nVERSION_ID=\n", "debian"),
            ("# ID=a\nID=b\nID=c\n", "c"),
            ("ID=\"a\\\"b\"\n", "a\"b"),
            ("", "linux"),
        ] {
            assert_eq!(System::parse(text).distribution(), expected, "{text}");
        }
    }
}
