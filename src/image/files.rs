//! What the files of an image's layers are called: no two alike, on file systems that do not tell
//! cases apart either, and none as what a role's file or the checksums are called.

use std::collections::{HashMap, HashSet};

use icu_normalizer::DecomposingNormalizerBorrowed;

use super::artifact::UNPACK;
use super::{Chunked, Layer, Role};
use crate::oci::{self, Descriptor};

/// The file of checksums that lies beside extracted layers.
pub const SHA256SUMS: &str = "SHA256SUMS";

/// The longest title, in bytes, that is a file's name as it stands. Names have 255 bytes at most,
/// and a number may have to go behind.
const MAX_TITLE: usize = 240;

/// Names the files of layers: by their role, else by their title where that can be a file's name,
/// else by their digest. `role_of` says which layers have a role, `taken` which name is no layer's.
pub(super) fn named(
    layers: &[Descriptor],
    role_of: impl Fn(&Descriptor) -> Option<Role>,
    taken: Option<&str>,
) -> Vec<Layer> {
    let mut names = Names::default();
    taken.into_iter().for_each(|name| drop(names.take(name)));
    let mut files: Vec<_> =
        layers.iter().map(|layer| (role_of(layer), layer, String::new())).collect();
    for (role, layer, file_name) in &mut files {
        let media_type = content(*role, layer).media_type;
        role.inspect(|role| *file_name = names.take(role.file_name(&media_type)));
    }
    // No title takes the name of what boots, or of the checksums, also where the image has none.
    let reserved = Role::ALL.map(|role| role.file_name(""));
    let others = [Role::Rootfs.file_name(".tar"), SHA256SUMS];
    names.taken.extend(reserved.into_iter().chain(others).map(folded));
    for (role, layer, file_name) in &mut files {
        if role.is_none() {
            *file_name = match title(layer) {
                Some(title) if is_folder(layer) => names.take(&format!("{title}.tar.gz")),
                Some(title) => names.take(title),
                None => names.take(layer.digest.short()),
            };
        }
    }
    files
        .into_iter()
        .map(|(role, layer, file_name)| {
            let content = content(role, layer);
            Layer { role, descriptor: layer.clone(), content, file_name }
        })
        .collect()
}

/// What the file of a layer has.
fn content(role: Option<Role>, layer: &Descriptor) -> Descriptor {
    // Annotations that are wrong are told by who writes the file.
    let chunked = role.and_then(|_| Chunked::of(layer).ok().flatten());
    chunked.map_or_else(|| layer.clone(), |chunked| chunked.content)
}

/// File names that are taken, as they are compared, and how often each was asked for.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    asked: HashMap<String, usize>,
}

impl Names {
    /// The name itself, or the name with the first free number behind it.
    fn take(&mut self, base: &str) -> String {
        let asked = self.asked.entry(folded(base)).or_default();
        loop {
            *asked += 1;
            let name = if *asked == 1 { base.to_owned() } else { format!("{base}.{asked}") };
            if self.taken.insert(folded(&name)) {
                return name;
            }
        }
    }
}

/// A name as a file system that does not tell cases apart compares it. Their tables differ; what is
/// one name in any of them (exFAT's and FAT's upper case, Unicode's case folding and decomposition
/// in ext4 and f2fs) is one here.
fn folded(name: &str) -> String {
    let nfd = DecomposingNormalizerBorrowed::new_nfd();
    // Upper case in between joins what has several lower cases (ſ and s, ς and σ).
    let lower = nfd.normalize(name).to_lowercase().to_uppercase().to_lowercase();
    nfd.normalize(&lower).into_owned()
}

/// The file's name that a layer's title gives: the end of a path into folders of its own.
fn title(layer: &Descriptor) -> Option<&str> {
    let title = layer.annotations.get(oci::TITLE)?;
    title.split('/').all(is_bare).then(|| title.rsplit('/').next())?
}

/// Whether a layer is a folder that oras packed, as a `.tar.gz`. Its title is the folder's name.
pub(super) fn is_folder(layer: &Descriptor) -> bool {
    layer.annotations.get(UNPACK) == Some("true")
}

/// Whether a title can be used as a file name as it stands: one part, visible, nothing that leads
/// elsewhere or that a file system takes for another name.
fn is_bare(title: &str) -> bool {
    !title.is_empty()
        && title.len() <= MAX_TITLE
        && !title.starts_with('.')
        // FAT drops these at a name's end.
        && !title.ends_with(['.', ' '])
        && !has_short_form(title)
        && !title.chars().any(|c| c == '\\' || c.is_control() || is_ignorable(c))
}

/// Whether it may be the short name that FAT gives to a file with a longer one: `SHA256~1`.
fn has_short_form(title: &str) -> bool {
    title.split('~').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether case folding drops the character (Unicode's `Default_Ignorable_Code_Point`), or a
/// reader does not see it (`Bidi_Control`, line and paragraph separators).
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Profile;

    fn titled(media_type: &str, title: &str) -> Descriptor {
        let mut layer = Descriptor::of(media_type, title.as_bytes());
        layer.annotations.set(oci::TITLE, title);
        layer
    }

    fn names(layers: &[Descriptor]) -> Vec<String> {
        let role_of = |layer: &Descriptor| Role::of(&layer.media_type);
        named(layers, role_of, None).into_iter().map(|layer| layer.file_name).collect()
    }

    #[test]
    fn titles_lead_nowhere() {
        let odd = [
            "../../etc/passwd",
            "/etc/passwd",
            ".bashrc",
            "a//b",
            "a/.b",
            "",
            "..",
            "a/",
            "a\u{1b}[2J",
            "a\0b",
            "vmlinuz.",
            "vmlinuz ",
            "vm\u{200b}linuz",
            "vm\u{ad}linuz",
            "SHA256~1",
            "VMLINU~1.2",
            &"x".repeat(MAX_TITLE + 1),
        ];
        let layers = odd.map(|title| titled("text/x", title));
        for (name, layer) in names(&layers).iter().zip(&layers) {
            assert_eq!(name, layer.digest.short());
        }
    }

    #[test]
    fn a_packed_folder_is_no_folder() {
        let mut layers = ["conf", "conf.tar.gz", "../conf"].map(|title| titled("text/x", title));
        for n in [0, 2] {
            layers[n].annotations.set(UNPACK, "true");
        }
        let expected = ["conf.tar.gz", "conf.tar.gz.2", layers[2].digest.short()];
        assert_eq!(names(&layers), expected);
        layers[0].annotations.set(UNPACK, "false");
        assert_eq!(names(&layers)[0], "conf");
    }

    #[test]
    fn no_two_names_are_one_on_any_file_system() {
        let kernel = Profile::Onmetal.media_type(Role::Kernel, "").unwrap();
        for (titles, expected) in [
            (&["a/b/notes.txt", "notes.txt"][..], &["notes.txt", "notes.txt.2"][..]),
            (&["vmlinuz", "VMLINUZ"], &["vmlinuz.3", "VMLINUZ.4"]),
            (&["Vmlinuz.2"], &["Vmlinuz.2.2"]),
            (&["initrd", "Uki.EFI"], &["initrd.2", "Uki.EFI.2"]),
            (&["SHA256SUMS", "sha256sums"], &["SHA256SUMS.2", "sha256sums.3"]),
            (&["\u{17f}ha256\u{17f}ums", "CmdLine"], &["\u{17f}ha256\u{17f}ums.2", "CmdLine.2"]),
            (&["Straße", "STRASSE", "STRAẞE"], &["Straße", "STRASSE.2", "STRAẞE.3"]),
            (&["\u{e9}", "e\u{301}", "E\u{301}"], &["\u{e9}", "e\u{301}.2", "E\u{301}.3"]),
            (&["ΣΑΣ", "σας", "σασ"], &["ΣΑΣ", "σας.2", "σασ.3"]),
            (&["a.2", "a", "A"], &["a.2", "a", "A.3"]),
            (&["backup~", "a~b"], &["backup~", "a~b"]),
        ] {
            let mut layers: Vec<_> = titles.iter().map(|title| titled("text/x", title)).collect();
            layers.extend(["1", "2"].map(|text| Descriptor::of(&kernel, text.as_bytes())));
            let names = names(&layers);
            assert_eq!(names[..titles.len()], *expected);
            assert_eq!(names[titles.len()..], ["vmlinuz", "vmlinuz.2"], "{titles:?}");
        }
    }
}
