//! The files of an image as they lie side by side on a boot server, with their checksums.

use std::fmt::Write as _;

use crate::digest::{Algorithm, Digest};
use crate::image::{Chunked, Image, Layer, Role, SHA256SUMS};
use crate::oci::Descriptor;

/// A file of an image's folder.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Served {
    /// Its name in the folder.
    pub name: String,
    /// What it is for; `None` for what no role tells.
    pub role: Option<Role>,
    /// What it has.
    pub holds: Holds,
}

/// What a file of the folder has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Holds {
    /// A layer as it is stored.
    Blob(Descriptor),
    /// What comes out of a layer that is stored in chunks.
    Content(Box<Chunked>),
    /// A text that is no layer.
    Text(String),
}

impl Holds {
    /// Its size, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Holds::Blob(blob) => blob.size,
            Holds::Content(chunked) => chunked.content.size,
            Holds::Text(text) => text.len() as u64,
        }
    }
}

/// The name of the script for iPXE in the folder.
pub const SCRIPT: &str = "boot.ipxe";

/// The folder of an image: what has a role, in the order of the layers, then what has only a title,
/// but for one that another file's name is. The command line is the file `cmdline`, which ends in a
/// newline. A layer that is stored in chunks is there twice: as its content, and with `.zst` behind
/// that name as it is stored.
///
/// [`Served::checksums`] of all of them is one more file, and [`SCRIPT`] another.
pub fn folder(image: &Image, command_line: Option<&str>) -> Vec<Served> {
    let (own, titled): (Vec<_>, Vec<_>) =
        image.layers().into_iter().partition(|layer| layer.role.is_some());
    let mut files: Vec<Served> = own.into_iter().flat_map(of_layer).collect();
    let name = Role::CommandLine.file_name("");
    if let Some(text) = command_line
        && files.iter().all(|file| file.name != name)
    {
        let holds = Holds::Text(format!("{text}\n"));
        files.push(Served { name: name.to_owned(), role: Some(Role::CommandLine), holds });
    }
    for file in titled.into_iter().flat_map(of_layer) {
        let taken = |taken: &Served| taken.name == file.name;
        if file.name != SCRIPT && !files.iter().any(taken) {
            files.push(file);
        }
    }
    files
}

/// The file of a role, of several the first.
pub fn of_role(files: &[Served], role: Role) -> Option<&Served> {
    files.iter().find(|file| file.role == Some(role))
}

fn of_layer(layer: Layer) -> Vec<Served> {
    let Layer { role, descriptor, content, file_name } = layer;
    // Boot loaders and their makers say root.
    let name = match (role, file_name.strip_prefix("rootfs.squashfs")) {
        (Some(Role::Squashfs), Some(rest)) => format!("root.squashfs{rest}"),
        _ => file_name,
    };
    let chunked = role.and_then(|_| Chunked::of(&descriptor).ok().flatten());
    match chunked.filter(|chunked| chunked.content.digest == content.digest) {
        None => vec![Served { name, role, holds: Holds::Blob(descriptor) }],
        Some(chunked) => {
            let stored = format!("{name}.zst");
            let holds = Holds::Content(Box::new(chunked));
            vec![
                Served { name, role, holds },
                Served { name: stored, role: None, holds: Holds::Blob(descriptor) },
            ]
        }
    }
}

impl Served {
    /// The name of the file of checksums.
    pub const CHECKSUMS: &'static str = SHA256SUMS;

    /// The digits of its SHA-256, where its digest is one.
    pub fn sha256(&self) -> Option<String> {
        let digest = match &self.holds {
            Holds::Blob(blob) => blob.digest.clone(),
            Holds::Content(chunked) => chunked.content.digest.clone(),
            Holds::Text(text) => Digest::of(text.as_bytes()),
        };
        (digest.algorithm() == Algorithm::Sha256).then(|| digest.hex().to_owned())
    }

    /// What `SHA256SUMS` has, as `sha256sum -c` reads it: a line each, sorted by name. A file whose
    /// digest is none of SHA-256 is in none.
    pub fn checksums(files: &[Served]) -> String {
        let mut lines: Vec<_> =
            files.iter().filter_map(|file| Some((&file.name, file.sha256()?))).collect();
        lines.sort();
        lines.iter().fold(String::new(), |mut text, (name, hex)| {
            let _ = writeln!(text, "{hex} *{name}");
            text
        })
    }
}
