//! What the program does in a way of its own under each of its names. Called as `onmetal-image` or
//! `ironcore-image` it stands in for those tools, and does what a script of theirs counts on.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use osimage::Kind;
use osimage::image::Profile;
use osimage::layout::Keeping;
use osimage::oci;

/// The manner that belongs to a name.
#[derive(Debug)]
pub struct Manner {
    /// The name.
    pub program: &'static str,
    /// The folder of the store in the user's home; without it, osimage's own.
    pub home_store: Option<&'static str>,
    /// The profile where none is asked for.
    pub profile: Profile,
    /// How the store's index is kept.
    pub keeping: Keeping,
    /// The media types of the entries that `list` shows, each entry a row, the highest digest
    /// first; without them, all images by their names.
    pub rows: Option<&'static [&'static str]>,
    /// Whether a failure has the same exit code whatever it is.
    pub one_failure: bool,
    /// Whether what harms nothing is passed over with a word: surplus arguments, flags without a
    /// value, empty files, a name to delete and a file of credentials that are not there.
    pub is_lenient: bool,
    /// Whether `delete` takes an id whole or not at all.
    pub whole_ids: bool,
    /// Whether a name without a tag will do: pushed by its digest, asked for as `latest`.
    pub untagged: bool,
    /// Whether `push` tags the images of an index too where nobody says, and tells of each.
    pub sub_manifests: bool,
    /// Whether `pull` takes the only image of an index in the place of the index.
    pub only_image: bool,
    /// Whether docker's credentials go before podman's.
    pub docker_first: bool,
    /// Whether credentials are looked for in the files that are named alone, where any are.
    pub named_alone: bool,
}

const OSIMAGE: Manner = Manner {
    program: "osimage",
    home_store: None,
    profile: Profile::Onmetal,
    keeping: Keeping::Tidy,
    rows: None,
    one_failure: false,
    is_lenient: false,
    whole_ids: false,
    untagged: false,
    sub_manifests: false,
    only_image: false,
    docker_first: false,
    named_alone: false,
};

const ONMETAL_IMAGE: Manner = Manner {
    program: "onmetal-image",
    home_store: Some(".onmetal"),
    profile: Profile::Onmetal,
    keeping: Keeping::Journal,
    rows: Some(&[oci::MANIFEST]),
    one_failure: true,
    is_lenient: true,
    whole_ids: true,
    untagged: true,
    docker_first: true,
    ..OSIMAGE
};

const IRONCORE_IMAGE: Manner = Manner {
    program: "ironcore-image",
    home_store: Some(".ironcore"),
    profile: Profile::Ironcore,
    rows: Some(&[oci::MANIFEST, oci::INDEX]),
    sub_manifests: true,
    only_image: true,
    named_alone: true,
    ..ONMETAL_IMAGE
};

static ALL: [Manner; 3] = [OSIMAGE, ONMETAL_IMAGE, IRONCORE_IMAGE];

/// The commands of the tools that are stood in for, as their help lists them.
pub const VERBS: &[&str] = &["build", "delete", "inspect", "list", "pull", "push", "tag", "url"];

/// Their flags that have a value, and what an empty one means: the value that stands for it, or
/// that the flag is not there. What is not among these is an error there too, or may be empty.
const FLAGS: &[(&str, Option<Empty>)] = &[
    ("--store-path", Some(Empty::Means("."))),
    ("--docker-config-path", Some(Empty::IsNone)),
    ("--tag", Some(Empty::IsNone)),
    ("--layer", Some(Empty::IsNone)),
    ("--rootfs-file", None),
    ("--initramfs-file", None),
    ("--kernel-file", None),
    ("--command-line", None),
    ("--config", None),
    ("--annotations", None),
];

#[derive(Debug, Clone, Copy)]
enum Empty {
    Means(&'static str),
    IsNone,
}

impl Manner {
    /// Tells it by the name of the file that was started.
    pub fn of_program() -> &'static Manner {
        let program = std::env::args_os().next();
        let name = program.as_deref().and_then(|path| Path::new(path).file_name());
        ALL.iter().find(|manner| name == Some(OsStr::new(manner.program))).unwrap_or(&ALL[0])
    }

    /// Whether the program stands in for another.
    pub fn stands_in(&self) -> bool {
        self.home_store.is_some()
    }

    /// The exit code of a failure.
    pub fn code(&self, kind: Kind) -> u8 {
        if self.one_failure { Kind::Other as u8 } else { kind as u8 }
    }

    /// The arguments of the program, without the flags that an empty value makes nothing of.
    pub fn arguments(&self, given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let mut given = given.into_iter();
        if !self.is_lenient {
            return given.collect();
        }
        let mut kept = Vec::new();
        while let Some(word) = given.next() {
            if word == "--" {
                kept.push(word);
                break;
            }
            let text = word.to_string_lossy();
            let (name, joined) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text.as_ref(), None),
            };
            let Some((name, empty)) = FLAGS.iter().find(|(flag, _)| *flag == name) else {
                kept.push(word);
                continue;
            };
            let next = if joined.is_none() { given.next() } else { None };
            let is_empty = joined == Some("") || next.as_ref().is_some_and(|next| next.is_empty());
            match empty {
                Some(Empty::IsNone) if is_empty => {}
                Some(Empty::Means(value)) if is_empty => {
                    kept.push(format!("{name}={value}").into());
                }
                _ => kept.extend([Some(word.clone()), next].into_iter().flatten()),
            }
        }
        kept.extend(given);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_without_a_value_are_none() {
        for (given, kept) in [
            ("url|--layer||x", "url|x"),
            ("url|--layer=|x", "url|x"),
            ("url|--layer|kernel|x", "url|--layer|kernel|x"),
            ("list|--store-path=", "list|--store-path=."),
            ("list|--store-path|", "list|--store-path=."),
            ("build|--command-line|--layer|--tag|", "build|--command-line|--layer"),
            ("build|--rootfs-file||--tag|a", "build|--rootfs-file||--tag|a"),
            ("tag|--|--layer|", "tag|--|--layer|"),
            ("build|--tag", "build|--tag"),
        ] {
            let words = |text: &str| text.split('|').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(ONMETAL_IMAGE.arguments(words(given)), words(kept), "{given}");
            assert_eq!(OSIMAGE.arguments(words(given)), words(given), "{given}");
        }
    }
}
