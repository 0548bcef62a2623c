//! `osimage features boot`, `command-line`, `fstab` and `partitions`: what a system that was built says of how it
//! starts. The hooks of features call them.

use std::path::PathBuf;

use clap::ValueEnum;
use osimage::features::Arch;
use osimage::rootfs::{self, InSystem};
use osimage::{Error, Result};
use serde::Serialize;

use super::features::json_lines;
use super::output;

/// Show the kernel, the initramfs and the command line that a root file system starts with
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features boot rootfs.tar
  osimage features boot --kernel 6.12.9-amd64 --output boot rootfs.tar    and take them out")]
pub struct Boot {
    /// Version of the kernel, where there are several [default: what /etc/kernel/default names, or
    /// the newest]
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Folder that gets vmlinuz, initrd and cmdline
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Lines to read, or a JSON object
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The root file system: a folder or a tar
    #[arg(value_name = "ROOTFS")]
    rootfs: PathBuf,
}

/// Print the kernel command line that a system's etc/kernel/cmdline.d makes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features command-line rootfs >rootfs/etc/kernel/cmdline")]
pub struct CommandLine {
    /// The folder of the system
    #[arg(value_name = "ROOTFS")]
    rootfs: PathBuf,
}

/// Print the lines of an fstab, without comments: fields with tabs between them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features fstab /etc/fstab
  osimage features fstab --installed features/base/fstab >rootfs/etc/fstab")]
pub struct Fstab {
    /// As an installed system has them: without the words for whoever makes the disk
    #[arg(long)]
    installed: bool,
    /// Lines to read, or a JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Print the partitions of the disk that an fstab asks for, in their order on it
///
/// A line has, with tabs between them: file system, place, label, UUID, type, size in bytes, and
/// `quota` where the options want one; `-` stands for what the fstab leaves open.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage features partitions features/base/fstab")]
pub struct Partitions {
    /// Architecture, which decides of what type the root is [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    /// Lines to read, or a JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Serialize)]
struct BootListing<'a> {
    version: &'a str,
    kernel: &'a str,
    initramfs: &'a str,
    command_line: String,
}

#[derive(Serialize)]
struct MountListing<'a> {
    source: &'a str,
    target: &'a str,
    r#type: &'a str,
    options: &'a str,
    rest: &'a [String],
}

/// What `osimage features boot` prints; with `--output`, it also writes the files.
pub fn boot(args: &Boot) -> Result<String> {
    // A hook hands on a variable, which may be empty.
    let kernel = args.kernel.as_deref().filter(|kernel| !kernel.is_empty());
    let boot = rootfs::boot(&args.rootfs, kernel)?;
    let command_line = boot.command_line.to_string();
    if let Some(old) = &boot.replaced_root {
        output::say(&format!(
            "osimage: warning: root={old} in /etc/kernel/cmdline gives way to what /etc/fstab mounts at /: {}",
            boot.command_line.root().unwrap_or_default()
        ));
    }
    if let Some(folder) = &args.output {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        boot.save_kernel(&folder.join("vmlinuz"))?;
        boot.save_initramfs(&folder.join("initrd"))?;
        osimage::durable::write(&folder.join("cmdline"), format!("{command_line}\n").as_bytes())?;
    }
    let kernel = &boot.kernel;
    Ok(match args.format {
        Format::Text => format!(
            "version       {}\nkernel        {}\ninitramfs     {}\ncommand line  {command_line}\n",
            kernel.version, kernel.path, kernel.initramfs
        ),
        Format::Json => json_lines(&BootListing {
            version: &kernel.version,
            kernel: &kernel.path,
            initramfs: &kernel.initramfs,
            command_line,
        }),
    })
}

/// What `osimage features command-line` prints.
pub fn command_line(args: &CommandLine) -> Result<String> {
    let mut shell = InSystem::new(&args.rootfs);
    rootfs::assembled_command_line(&args.rootfs, &mut shell).map(|line| format!("{line}\n"))
}

/// What `osimage features fstab` prints.
pub fn fstab(args: &Fstab) -> Result<String> {
    let fstab = rootfs::read_fstab(&args.file)?;
    let mounts = match args.installed {
        true => fstab.installed()?,
        false => fstab.mounts().to_vec(),
    };
    Ok(match args.format {
        Format::Text => mounts.iter().map(|mount| format!("{mount}\n")).collect(),
        Format::Json => {
            let listing = mounts.iter().map(|mount| MountListing {
                source: &mount.source,
                target: &mount.target,
                r#type: &mount.kind,
                options: &mount.options,
                rest: &mount.rest,
            });
            json_lines(&listing.collect::<Vec<_>>())
        }
    })
}

#[derive(Serialize)]
struct PartitionListing<'a> {
    file_system: &'static str,
    place: &'a str,
    label: Option<&'a str>,
    uuid: Option<&'a str>,
    r#type: &'a str,
    size: Option<u64>,
    quota: bool,
}

/// What `osimage features partitions` prints.
pub fn partitions(args: &Partitions) -> Result<String> {
    let Some(arch) = args.arch.or_else(Arch::host) else {
        return Err(Error::usage("this machine is neither amd64 nor arm64")
            .with_hint("name the disk's architecture with --arch"));
    };
    let partitions = rootfs::read_fstab(&args.file)?.partitions(arch)?;
    let listing = partitions.iter().map(|partition| PartitionListing {
        file_system: partition.file_system.name(),
        place: &partition.place,
        label: partition.label.as_deref(),
        uuid: partition.uuid.as_deref(),
        r#type: &partition.kind,
        size: partition.size,
        quota: partition.quota,
    });
    Ok(match args.format {
        Format::Text => listing
            .map(|p| {
                let size = p.size.map(|size| size.to_string());
                let (label, uuid) = (p.label.unwrap_or("-"), p.uuid.unwrap_or("-"));
                let (size, quota) =
                    (size.as_deref().unwrap_or("-"), if p.quota { "quota" } else { "-" });
                [p.file_system, p.place, label, uuid, p.r#type, size, quota].join("\t") + "\n"
            })
            .collect(),
        Format::Json => json_lines(&listing.collect::<Vec<_>>()),
    })
}
