//! What the folder of a feature adds to a system: packages, files, hooks, artifacts. What is wrong in
//! it is told with file and line, before anything is built.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::artifacts::{artifacts, rules};
use super::{Feature, Selection};
use crate::error::{Error, Result};
use crate::file;

/// No hand writes more than this into a list of packages.
const MAX_LIST: u64 = 1024 * 1024;

/// The hooks of the stages, in their order.
const HOOKS: [&str; 5] = ["exec.early", "exec.config", "exec.late", "exec.post", "fstab.mod"];

/// The folders that are links into /usr in a Debian.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What a feature's folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Contents {
    /// The lines of `pkg.include`, without comments.
    pub packages: Vec<String>,
    /// The lines of `pkg.exclude`, without comments.
    pub excluded_packages: Vec<String>,
    /// The files below `file.include`, by their paths in the system.
    pub files: Vec<String>,
    /// The patterns of `file.exclude`.
    pub excluded_files: Vec<String>,
    /// The hooks of the stages that it has, in their order, and `fstab` where it has one.
    pub hooks: Vec<String>,
    /// The endings of what it makes, such as `oci.tar.xz`.
    pub artifacts: Vec<String>,
    /// Its tests.
    pub tests: Vec<String>,
}

impl Contents {
    /// Reads the folder `features_dir/feature`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`], with file and line, for what the build would stumble over:
    /// line ends of Windows in a list or in a hook's first line, a hook that cannot be run, and files
    /// below `/lib` and the like, which are links.
    pub fn read(features_dir: &Path, feature: &Feature) -> Result<Contents> {
        let folder = features_dir.join(&feature.name);
        let mut contents = Contents {
            packages: list(&folder.join("pkg.include"))?,
            excluded_packages: list(&folder.join("pkg.exclude"))?,
            excluded_files: list(&folder.join("file.exclude"))?,
            ..Contents::default()
        };
        list(&folder.join("file.include.stat"))?;
        let include = folder.join("file.include");
        for name in MERGED {
            let path = include.join(name);
            if path.is_dir() && !path.is_symlink() {
                return Err(Error::invalid(format!(
                    "{} is a folder, but /{name} is a link to usr/{name} in the system",
                    path.display()
                ))
                .with_hint(format!("move its files to file.include/usr/{name}")));
            }
        }
        files_below(&include, Path::new("/"), &mut contents.files)?;
        contents.files.sort();
        for hook in HOOKS {
            let path = folder.join(hook);
            if path.exists() {
                check_program(&path)?;
                contents.hooks.push(hook.to_owned());
            }
        }
        if folder.join("fstab").exists() {
            list(&folder.join("fstab"))?;
            contents.hooks.push("fstab".to_owned());
        }
        for artifact in rules(&folder, &feature.name)? {
            check_program(&folder.join(&artifact.rule))?;
            contents.artifacts.push(artifact.extension);
        }
        contents.artifacts.sort();
        contents.tests = names(&folder.join("tests"))?;
        Ok(contents)
    }
}

/// Looks into the folders of all features of a selection, as [`Contents::read`] does.
///
/// # Errors
/// As [`Contents::read`] and [`artifacts`].
pub fn check(features_dir: &Path, selection: &Selection<'_>) -> Result<()> {
    for feature in &selection.features {
        Contents::read(features_dir, feature)?;
    }
    artifacts(features_dir, selection).map(drop)
}

/// The lines of a list, without comments; none where there is no list.
fn list(path: &Path) -> Result<Vec<String>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = file::read_small(path, MAX_LIST)?;
    let text = String::from_utf8_lossy(&bytes);
    if let Some(line) = text.split('\n').position(|line| line.ends_with('\r')) {
        return Err(windows(path, line + 1));
    }
    let kept = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text.lines().map(str::trim).filter(kept).map(str::to_owned).collect())
}

fn windows(path: &Path, line: usize) -> Error {
    Error::invalid(format!("{}, line {line}, has a line end of Windows (CR LF)", path.display()))
        .with_hint(format!("sed -i 's/\\r$//' {}", path.display()))
}

/// Whether a hook can be run.
fn check_program(path: &Path) -> Result<()> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    let (opened, metadata) = file::open_regular(path)?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Error::invalid(format!("{} is not executable", path.display()))
            .with_hint(format!("chmod +x {}", path.display())));
    }
    let mut first = Vec::new();
    opened.take(4096).read_to_end(&mut first).map_err(|e| Error::io("read", path, e))?;
    let line = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.starts_with(b"#!") && line.ends_with(b"\r") {
        true => Err(windows(path, 1)),
        false => Ok(()),
    }
}

/// What lies in a folder, sorted; nothing where there is none.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |e| Error::io("list", folder, e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// All that is no folder, by its path in the system.
fn files_below(folder: &Path, shown: &Path, files: &mut Vec<String>) -> Result<()> {
    let mut folders: Vec<(PathBuf, PathBuf)> = vec![(folder.to_owned(), shown.to_owned())];
    while let Some((folder, shown)) = folders.pop() {
        for name in names(&folder)? {
            let (path, shown) = (folder.join(&name), shown.join(&name));
            match path.is_dir() && !path.is_symlink() {
                true => folders.push((path, shown)),
                false => files.push(shown.to_string_lossy().into_owned()),
            }
        }
    }
    Ok(())
}
