//! The script with which iPXE boots an image.
//!
//! What iPXE makes of a line was read in its source (`src/core/exec.c`): it is cut at blanks, with
//! no quotes; a word `&&`, `||` or `;` ends the command, one that begins with `#` ends the line, and
//! `${…}` is replaced in each word. None of it can be written in another way, so a command line that
//! has it is refused.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::folder::{Served, folder, of_role};
use crate::image::{Image, Role};
use crate::{Error, Result};

/// The annotation of a manifest that has more words of the command line, for a machine that boots by
/// the network: `{squashfs}` in them, or another role, is the address of that file.
pub const NETBOOT_WORDS: &str = "dev.osimage.netboot.cmdline";

/// The script for an image: its kernel and initramfs, or where it has no kernel, its unified kernel
/// image, which only an iPXE under UEFI can start.
///
/// `command_line` is the image's; what the annotation [`NETBOOT_WORDS`] says, and what is in `more`,
/// stands behind that. Where there is a unified
/// kernel image, iPXE's words take the place of those in it, so the script repeats them. `address`
/// says where a file lies; a bare name is looked for where the script came from.
///
/// # Errors
/// [`Error::NotFound`] where the image has neither; [`Error::Invalid`] for a command line or an
/// address that means something else to iPXE; what `address` gives.
pub fn script(
    image: &Image,
    command_line: Option<&str>,
    more: &[String],
    address: &dyn Fn(&Served) -> Result<String>,
) -> Result<String> {
    let files = folder(image, None);
    let place = |file: &Served| one_word(image, address(file)?);
    let netboot = netboot_words(image, &files, &place)?;
    let lines = command_line.into_iter().chain(netboot.as_deref());
    let words = words(image, lines.chain(more.iter().map(String::as_str)))?;
    let mut text = String::from("#!ipxe\n");
    if let Some(kernel) = of_role(&files, Role::Kernel) {
        let initramfs = of_role(&files, Role::Initramfs);
        // The kernel's stub looks for an initramfs of this name where it was started by UEFI.
        let named = initramfs.map_or("", |_| " initrd=initrd");
        let _ = writeln!(text, "kernel {}{named}{words}", place(kernel)?);
        if let Some(initramfs) = initramfs {
            let _ = writeln!(text, "initrd --name initrd {}", place(initramfs)?);
        }
    } else if let Some(uki) = of_role(&files, Role::Uki) {
        let _ = writeln!(text, "kernel {}{words}", place(uki)?);
    } else {
        return Err(Error::not_found(format!(
            "the image {} has neither a kernel nor a unified kernel image",
            image.descriptor.digest
        ))
        .with_hint("iPXE loads one of them; an image of a disk is written to the disk"));
    }
    text.push_str("boot\n");
    Ok(text)
}

/// What the image's annotation says, with addresses in the place of roles.
fn netboot_words<'a>(
    image: &'a Image,
    files: &[Served],
    place: &dyn Fn(&Served) -> Result<String>,
) -> Result<Option<Cow<'a, str>>> {
    let Some(text) = image.manifest.annotations.get(NETBOOT_WORDS) else { return Ok(None) };
    let mut text = Cow::Borrowed(text);
    for role in Role::ALL {
        let name = format!("{{{role}}}");
        if !text.contains(&name) {
            continue;
        }
        let file = of_role(files, role).ok_or_else(|| {
            Error::invalid(format!(
                "the annotation {NETBOOT_WORDS} of {} names {role}, which the image has not",
                image.descriptor.digest
            ))
            .with_hint("tell whoever made the image")
        })?;
        text = text.replace(&name, &place(file)?).into();
    }
    Ok(Some(text))
}

/// The words of the command line, each with a blank before it.
fn words<'a>(image: &Image, lines: impl Iterator<Item = &'a str>) -> Result<String> {
    let mut all = String::new();
    for line in lines {
        check(line).map_err(|what| {
            let digest = &image.descriptor.digest;
            Error::invalid(format!("the command line of {digest} {what}: {line:?}"))
                .with_hint("write that word in another way, or boot a unified kernel image by UEFI")
        })?;
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            let _ = write!(all, " {word}");
        }
    }
    Ok(all)
}

/// Why a line cannot stand in a script.
pub(crate) fn check(line: &str) -> Result<(), String> {
    if let Some(c) = line.chars().find(|c| c.is_control() || (c.is_whitespace() && *c != ' ')) {
        return Err(format!("has the character {c:?}, which ends a line or a word of iPXE's"));
    }
    if line.contains("${") {
        return Err("has `${`, which iPXE replaces by a setting".to_owned());
    }
    for word in line.split(' ') {
        if matches!(word, "&&" | "||" | ";") {
            return Err(format!("has the word {word}, at which iPXE's command ends"));
        }
        if word.starts_with('#') {
            return Err(format!("has the word {word}, which is a comment to iPXE"));
        }
    }
    // iPXE puts one blank between words; within quotes the kernel counts them.
    let quoted = line.split('"').skip(1).step_by(2);
    if quoted.clone().any(|text| text.contains("  ")) {
        return Err("has several blanks within quotes, of which iPXE leaves one".to_owned());
    }
    Ok(())
}

/// An address as one word of a script.
fn one_word(image: &Image, address: String) -> Result<String> {
    let plain = !address.contains(char::is_whitespace) && check(&address).is_ok();
    match plain && !address.is_empty() && !address.starts_with('-') {
        true => Ok(address),
        false => Err(Error::invalid(format!(
            "the address {address:?} of a file of {} cannot stand in a script for iPXE",
            image.descriptor.digest
        ))
        .with_hint("an address is one word, with % and digits for what is no letter")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_ipxe_is_refused() {
        for (line, said) in [
            ("root=LABEL=ROOT ro", None),
            ("a=\"b c\" d='e' f=$g h={i} a&&b x|| ;y z#", None),
            ("a\nb", Some("the character '\\n'")),
            ("a\tb", Some("the character '\\t'")),
            ("a\u{a0}b", Some("the character")),
            ("a\rb", Some("the character")),
            ("a && b", Some("the word &&")),
            ("a || b", Some("the word ||")),
            ("&&", Some("the word &&")),
            ("a ;", Some("the word ;")),
            ("a #b", Some("a comment")),
            ("a=${net0/ip}", Some("`${`")),
            ("${", Some("`${`")),
            ("a=\"b  c\"", Some("several blanks")),
            ("a  b", None),
            ("a \"b\"  \"c\"", None),
        ] {
            match (check(line), said) {
                (Ok(()), None) => {}
                (Err(what), Some(said)) => assert!(what.contains(said), "{line:?}: {what}"),
                (checked, _) => panic!("{line:?}: {checked:?}"),
            }
        }
    }
}
