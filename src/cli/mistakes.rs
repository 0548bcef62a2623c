//! Command lines in the manner of other tools: docker, podman, oras, crane, skopeo. They are
//! noticed where they are none of ours, and answered with the line, or the option, to type.

use super::url::quoted;

/// What other tools call a command, word by word, and what it is called here.
const OTHER_NAMES: &[(&[&str], &[&str])] = &[
    // oras
    (&["manifest", "fetch"], &["manifest"]),
    (&["manifest", "fetch-config"], &["inspect"]),
    (&["manifest", "delete"], &["delete", "--remote"]),
    (&["blob", "fetch"], &["blob"]),
    (&["repo", "ls"], &["repos"]),
    (&["repo", "list"], &["repos"]),
    (&["repo", "tags"], &["tags"]),
    (&["registry", "login"], &["login"]),
    (&["registry", "logout"], &["logout"]),
    // docker and podman
    (&["images"], &["list"]),
    (&["image", "ls"], &["list"]),
    (&["image", "list"], &["list"]),
    (&["image", "inspect"], &["inspect"]),
    (&["image", "rm"], &["delete"]),
    (&["image", "pull"], &["pull"]),
    (&["image", "push"], &["push"]),
    (&["image", "tag"], &["tag"]),
    (&["manifest", "inspect"], &["manifest"]),
    (&["rmi"], &["delete"]),
    (&["save"], &["export"]),
    (&["load"], &["import"]),
    (&["search"], &["repos"]),
    // crane, regctl and skopeo
    (&["auth", "login"], &["login"]),
    (&["auth", "logout"], &["logout"]),
    (&["image", "copy"], &["copy"]),
    (&["image", "digest"], &["resolve"]),
    (&["image", "manifest"], &["manifest"]),
    (&["tag", "ls"], &["tags"]),
    (&["list-tags"], &["tags"]),
    (&["validate"], &["verify"]),
    (&["config"], &["inspect"]),
];

/// What options of other tools are here.
const OTHER_OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--tls-verify", "--src-tls-verify", "--dest-tls-verify"],
        "--insecure, which checks no certificate, or --plain-http, which asks without TLS",
    ),
    (&["--authfile", "--src-authfile", "--dest-authfile"], "--registry-config FILE"),
    (
        &["--creds", "--src-creds", "--dest-creds", "--username", "-u", "--password", "-p"],
        "osimage login -u NAME HOST, once for each registry",
    ),
    (&["--arch", "--override-arch"], "--platform ARCH"),
    (&["--jobs", "-j"], "--concurrency N"),
    (&["--digestfile"], "--digest-file FILE"),
    (
        &["--oci-layout", "--from-oci-layout", "--to-oci-layout"],
        "a path: ./DIR:TAG for a layout's folder, FILE.oci.tar:TAG for an archive",
    ),
    (&["--recursive"], "osimage copy -r IMAGE ./DIR:TAG"),
    (&["--verbose", "-v"], "--debug"),
    (&["--all"], "what is done anyhow: an index is copied as a whole, without --platform"),
    (&["--rootfs"], "--rootfs-file FILE"),
    (&["--kernel"], "--kernel-file FILE"),
    (&["--initrd", "--initramfs"], "--initramfs-file FILE"),
    (&["--cmdline"], "--command-line TEXT"),
    (&["-t"], "--tag NAME"),
];

/// What may have been meant by an option that the program does not know.
pub fn option_meant(option: &str) -> Option<&'static str> {
    OTHER_OPTIONS.iter().find_map(|(other, ours)| other.contains(&option).then_some(*ours))
}

/// The line that may have been meant by arguments that were refused.
pub fn meant(args: &[String]) -> Option<String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let renamed = OTHER_NAMES.iter().find_map(|(other, ours)| {
        let rest = words.strip_prefix(*other)?;
        Some([*ours, rest].concat())
    });
    let line = renamed.or_else(|| match words.as_slice() {
        // Others take the place to write to as a second word.
        ["pull", image, to] if is_plain(image) && is_plain(to) => {
            let is_archive = osimage::names::ARCHIVE_ENDINGS.iter().any(|end| to.ends_with(end));
            Some(vec!["pull", image, if is_archive { "--to" } else { "-o" }, to])
        }
        ["extract", image, to] if is_plain(image) && is_plain(to) => {
            Some(vec!["extract", image, "-o", to])
        }
        _ => None,
    })?;
    let line: Vec<_> = line.into_iter().map(word).collect();
    Some(format!("osimage {}", line.join(" ")))
}

/// Whether a word is no option.
fn is_plain(word: &str) -> bool {
    !word.starts_with('-')
}

/// A word for a shell, without quotes where it needs none.
fn word(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "@%+=:,./_-".contains(c);
    match !text.is_empty() && text.chars().all(safe) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tools_lines_are_answered_with_ours() {
        for (line, expected) in [
            ("manifest fetch ghcr.io/me/os:1", Some("manifest ghcr.io/me/os:1")),
            ("blob fetch -o x ghcr.io/me/os@d", Some("blob -o x ghcr.io/me/os@d")),
            ("repo ls localhost:5000", Some("repos localhost:5000")),
            ("repo tags localhost:5000/os", Some("tags localhost:5000/os")),
            ("images", Some("list")),
            ("rmi os:1", Some("delete os:1")),
            ("auth login ghcr.io", Some("login ghcr.io")),
            ("config h/r:1", Some("inspect h/r:1")),
            ("manifest delete h/r:1", Some("delete --remote h/r:1")),
            ("pull h/r:1 boot", Some("pull h/r:1 -o boot")),
            ("pull h/r:1 os.oci.tar.xz", Some("pull h/r:1 --to os.oci.tar.xz")),
            ("extract os.oci.tar boot", Some("extract os.oci.tar -o boot")),
            ("save a'b", Some(r"export 'a'\''b'")),
            ("manifest ghcr.io/me/os:1", None),
            ("pull --no-such h/r:1", None),
            ("frobnicate", None),
            ("", None),
        ] {
            let args: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(meant(&args), expected.map(|line| format!("osimage {line}")), "{line}");
        }
    }

    /// Every option that an answer names is one of some command.
    #[test]
    fn our_options_are_options() {
        let command = super::super::help::command(super::super::manner::Manner::of_program());
        let known: Vec<_> = std::iter::once(&command)
            .chain(command.get_subcommands())
            .flat_map(clap::Command::get_arguments)
            .filter_map(|arg| arg.get_long())
            .collect();
        for (_, ours) in OTHER_OPTIONS {
            for option in ours.split([' ', ',']).filter_map(|word| word.strip_prefix("--")) {
                assert!(known.contains(&option), "--{option}");
            }
        }
    }

    /// What is answered can be typed.
    #[test]
    fn our_names_are_commands() {
        let command = super::super::help::command(super::super::manner::Manner::of_program());
        for (other, ours) in OTHER_NAMES {
            assert!(command.get_subcommands().any(|known| known.get_name() == ours[0]), "{ours:?}");
            let known = |name: &str| {
                command.get_subcommands().any(|known| {
                    known.get_name() == name || known.get_all_aliases().any(|alias| alias == name)
                })
            };
            assert!(other.len() > 1 || !known(other[0]), "{other:?} is one of ours");
        }
    }
}
