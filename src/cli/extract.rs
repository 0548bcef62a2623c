//! `osimage extract`: an image's layers as files, named by role, checked while they are written.
//! `pull -o` does the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use osimage::content::{self, Source};
use osimage::copy::{self, Graph, Node, Target};
use osimage::digest::{Algorithm, Digest, Hasher, Verifying};
use osimage::file::{self, NewFile};
use osimage::image::{self, Image, Role, SHA256SUMS};
use osimage::oci::Descriptor;
use osimage::{Error, Result};

use super::context::{self, Context};
use super::output::{self, Stdout};
use super::progress::Watched;
use super::remote::JOBS;

/// Write an image's layers to files, named by role, with their checksums
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage extract os-1.0.oci.tar.xz -o boot               all files, and SHA256SUMS
  osimage extract ghcr.io/me/os:1.0 --layer kernel -o boot
  osimage extract os-1.0.oci.tar.xz --layer kernel -o - | file -
  osimage extract oci://ghcr.io/me/os:1.0 --layer kernel -o boot

The files are vmlinuz, initrd, rootfs.raw (or .tar), rootfs.squashfs, uki.efi, image.iso, cmdline.
A file of such a name is replaced when the new one is whole.")]
pub struct Args {
    /// Image to extract [default: the only one of the store]
    #[arg(value_name = "REF|DIR[:REF]|ARCHIVE[:REF]|oci://REF")]
    image: Option<String>,
    /// Folder to write to, made if it is missing; - writes one layer to standard output
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    #[command(flatten)]
    choice: Choice,
}

/// Which files of an image.
#[derive(Debug, Default, clap::Args)]
pub struct Choice {
    /// Only this layer: rootfs, initramfs, kernel, squashfs, uki, iso or cmdline; can be repeated
    #[arg(long, value_name = "ROLE", value_parser = role_parser(), hide_possible_values = true)]
    pub layer: Vec<Role>,
    /// Architecture, for an image of several
    #[arg(long, value_name = "ARCH")]
    pub platform: Option<String>,
}

/// Names the roles in the errors and in a shell's completions.
fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::name)).try_map(|name| name.parse::<Role>())
}

pub fn run(args: &Args, context: &Context) -> Result<()> {
    let (source, name) = context.open_any(args.image.as_deref())?;
    let entry = content::resolve(&*source, name.as_ref())?;
    extract(&*source, &entry, &args.choice, &args.output, false, JOBS)
}

/// Writes the chosen files of an image to a folder, or one to standard output for `-`. With
/// `reuse`, a file that is there with the right content is not fetched again. Up to `jobs` layers
/// at once.
pub fn extract(
    source: &dyn Source,
    entry: &Descriptor,
    choice: &Choice,
    output: &Path,
    reuse: bool,
    jobs: usize,
) -> Result<()> {
    let image = Image::read(source, &context::one(source, entry, choice.platform.as_deref())?)?;
    let wanted = |role: Option<Role>| {
        choice.layer.is_empty() || role.is_some_and(|role| choice.layer.contains(&role))
    };
    let mut layers = image.layers();
    let command_line = image.command_line.as_deref();
    for role in &choice.layer {
        let there = layers.iter().any(|layer| layer.role == Some(*role))
            || (*role == Role::CommandLine && command_line.is_some());
        if !there {
            let own_file = command_line.is_some().then_some(Role::CommandLine);
            let has: Vec<_> = layers
                .iter()
                .filter_map(|layer| layer.role)
                .chain(own_file)
                .map(Role::name)
                .collect();
            return Err(Error::not_found(format!(
                "the image {} has no {role}",
                image.descriptor.digest
            ))
            .with_hint(format!("it has {}", has.join(", "))));
        }
    }
    layers.retain(|layer| wanted(layer.role));
    let command_line = command_line.filter(|_| wanted(Some(Role::CommandLine)));
    layers.sort_by_key(|layer| source.position(&layer.descriptor.digest));

    if output == Path::new("-") {
        return to_stdout(source, &layers, command_line);
    }
    std::fs::create_dir_all(output).map_err(|e| Error::io("create the folder", output, e))?;
    let files = Files {
        path: output,
        dir: file::open_dir(output)?,
        layers: &layers,
        reuse,
        sums: Mutex::default(),
    };
    // By their content, of which an image may have several layers.
    let mut nodes: Vec<Node> = Vec::new();
    for layer in &layers {
        if nodes.iter().all(|node| node.descriptor.digest != layer.descriptor.digest) {
            nodes.push(Node { descriptor: layer.descriptor.clone(), document: None, height: 0 });
        }
    }
    let graph = Graph { entries: Vec::new(), nodes };
    let written = copy::transfer(&Watched::new(source, &graph, "extracting"), &graph, &files, jobs);
    let written = written.and_then(|()| match command_line {
        Some(command_line) => {
            files.write("cmdline", &mut format!("{command_line}\n").as_bytes(), None)
        }
        None => Ok(()),
    });
    // The files that were written before one failed are whole, and their checksums belong to them.
    let sums = files.sums.into_inner().expect("nothing panics with this lock");
    let names =
        layers.iter().map(|layer| layer.file_name.as_str()).chain(command_line.map(|_| "cmdline"));
    for name in names.filter(|name| sums.contains_key(*name)) {
        output::line(&output::visible(&output.join(name).display().to_string()))?;
    }
    let summed = if sums.is_empty() { Ok(()) } else { write_sums(&output.join(SHA256SUMS), sums) };
    written.and(summed)
}

/// A folder that takes layers as files.
struct Files<'a> {
    path: &'a Path,
    dir: File,
    layers: &'a [image::Layer],
    /// Whether a file that is there with the right content is left as it is.
    reuse: bool,
    /// The files that are there now, and their SHA-256 in hexadecimal digits.
    sums: Mutex<BTreeMap<String, String>>,
}

impl Files<'_> {
    /// The layers with a content.
    fn layers_of(&self, node: &Node) -> impl Iterator<Item = &image::Layer> {
        let digest = node.descriptor.digest.clone();
        self.layers.iter().filter(move |layer| layer.descriptor.digest == digest)
    }

    fn write(&self, name: &str, content: &mut dyn Read, digest: Option<&Digest>) -> Result<()> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        // The content is checked against its own digest anyway; only another algorithm's needs a
        // second hash for the sums.
        let known = digest.filter(|digest| digest.algorithm() == Algorithm::Sha256);
        let new = NewFile::create(&self.dir, self.path, 0o666)?;
        file::copy_sparse(content, new.file(), |bytes| {
            if known.is_none() {
                hasher.update(bytes);
            }
        })
        .map_err(|e| Error::io("write", self.path.join(name), e))?;
        new.commit(name)?;
        self.note(name, &known.cloned().unwrap_or_else(|| hasher.finish()));
        Ok(())
    }

    fn note(&self, name: &str, digest: &Digest) {
        self.sums
            .lock()
            .expect("nothing panics with this lock")
            .insert(name.to_owned(), digest.hex().to_owned());
    }
}

impl Target for Files<'_> {
    fn has(&self, node: &Node) -> Result<bool> {
        let digest = &node.descriptor.digest;
        let there =
            |layer: &image::Layer| is_there(&self.path.join(&layer.file_name), &layer.descriptor);
        let has = self.reuse
            && digest.algorithm() == Algorithm::Sha256
            && self.layers_of(node).all(there);
        if has {
            self.layers_of(node).for_each(|layer| self.note(&layer.file_name, digest));
        }
        Ok(has)
    }

    fn put(&self, node: &Node, source: &dyn Source) -> Result<()> {
        self.layers_of(node).try_for_each(|layer| {
            let mut content = content::verified(source, &layer.descriptor)?;
            self.write(&layer.file_name, &mut content, Some(&layer.descriptor.digest))
        })
    }
}

/// Whether a file is there with that content.
fn is_there(path: &Path, descriptor: &Descriptor) -> bool {
    let Ok((file, metadata)) = file::open_regular(path) else { return false };
    let mut content =
        Verifying::new(file, &descriptor.digest, descriptor.size, path.display().to_string());
    metadata.len() == descriptor.size && std::io::copy(&mut content, &mut std::io::sink()).is_ok()
}

fn to_stdout(
    source: &dyn Source,
    layers: &[image::Layer],
    command_line: Option<&str>,
) -> Result<()> {
    match (layers, command_line) {
        ([layer], None) => {
            let mut content = content::verified(source, &layer.descriptor)?;
            std::io::copy(&mut content, &mut Stdout)
                .and_then(|_| Stdout.flush())
                .map_err(|e| Error::io("write", "standard output", e))
        }
        ([], Some(command_line)) => output::line(command_line),
        _ => Err(Error::usage("only one layer can be written to standard output")
            .with_hint("say which with --layer, such as --layer kernel")),
    }
}

/// Writes the checksums, as sha256sum reads them. The lines of other files that are there, from an
/// earlier run into the folder or from another tool, stay as they are.
fn write_sums(path: &Path, sums: BTreeMap<String, String>) -> Result<()> {
    let before = match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        before => before.map_err(|e| Error::io("read", path, e))?,
    };
    // Two characters stand between a sum and the name: a space, and a space or, for what was read
    // as binary, an asterisk.
    const NAME: usize = 64 + 2;
    let folder = path.parent().unwrap_or(Path::new("."));
    let others =
        before.split(|byte| *byte == b'\n').filter_map(|line| Some((line.get(NAME..)?, line)));
    let mut lines: BTreeMap<_, _> = others
        .filter(|(name, _)| folder.join(OsStr::from_bytes(name)).exists())
        .map(|(name, line)| (name, line.to_owned()))
        .collect();
    lines.extend(
        sums.iter().map(|(name, hex)| (name.as_bytes(), format!("{hex}  {name}").into_bytes())),
    );
    file::write(
        path,
        &lines.into_values().flat_map(|line| [line, b"\n".to_vec()].concat()).collect::<Vec<_>>(),
    )
}
