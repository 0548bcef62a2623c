//! A kernel command line, cut into words as the kernel does it (`lib/cmdline.c`, `next_arg`): by
//! blanks, but not within double quotes. Words keep their quotes.

use std::fmt;

use super::fragments::{Evaluate, Fragment, Variables};
use crate::error::{Error, Result};

/// The words of a kernel command line, each as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<String>,
}

/// What the kernel takes for a blank.
pub(super) fn blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

impl CommandLine {
    /// Reads a command line of any number of lines; `origin` is its file's name in errors. A line
    /// that begins with `#` is a comment; elsewhere a `#` is a character as any other.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a quote that its line does not close, and for control characters.
    pub fn parse(text: &str, origin: &str) -> Result<CommandLine> {
        let mut words = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |what: String| {
                Error::invalid(format!("{origin}, line {}, {what}: {}", number + 1, line.trim()))
            };
            if line.trim_start_matches(blank).starts_with('#') {
                continue;
            }
            if let Some(c) = line.chars().find(|c| c.is_control() && !blank(*c)) {
                return Err(wrong(format!("has the character {c:?}")));
            }
            let (mut word, mut quoted) = (String::new(), false);
            for c in line.chars() {
                if blank(c) && !quoted {
                    if !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                    continue;
                }
                quoted ^= c == '"';
                word.push(c);
            }
            if quoted {
                return Err(wrong("has a quote that nothing closes".to_owned())
                    .with_hint("the kernel would take all the rest for one word; close it"));
            }
            if !word.is_empty() {
                words.push(word);
            }
        }
        Ok(CommandLine { words })
    }

    /// The command line of fragments, in their order: the words of each are put behind those
    /// before, and a fragment for a shell changes what is there as it likes. What it says of the
    /// root file system, in `DEVICE`, comes first.
    ///
    /// # Errors
    /// As [`CommandLine::parse`]; what `shell` says of a fragment.
    pub fn assemble(fragments: &[Fragment], shell: &mut dyn Evaluate) -> Result<CommandLine> {
        let mut variables = Variables::default();
        // Where what the variable holds comes from last.
        let mut origin = "the command line";
        for fragment in fragments {
            match fragment {
                Fragment::Words { origin: from, words } => {
                    if !variables.line.is_empty() {
                        variables.line.push(' ');
                    }
                    variables.line += &words.to_string();
                    origin = from;
                }
                Fragment::Shell { origin: from, script } => {
                    variables = shell.evaluate(from, script, variables)?;
                    origin = from;
                }
            }
        }
        let mut command_line = CommandLine::parse(&variables.line, origin)?;
        if command_line.root().is_none() {
            command_line.set_root(&variables.device)?;
        }
        Ok(command_line)
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Where the kernel finds the root file system: the last `root=`, without quotes around it.
    pub fn root(&self) -> Option<&str> {
        self.roots().last().map(|at| root_of(&self.words[at]).unwrap_or_default())
    }

    /// The places of the words that say `root=`. After a word `--` all is for init.
    fn roots(&self) -> impl Iterator<Item = usize> {
        let own = self.words.iter().take_while(|word| *word != "--").enumerate();
        own.filter(|(_, word)| root_of(word).is_some()).map(|(at, _)| at)
    }

    /// Names the root file system, in the place where one was named, else before all; gives back
    /// what was named until now.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a device whose name cannot stand in a command line.
    pub fn set_root(&mut self, device: &str) -> Result<Option<String>> {
        if device.is_empty() || device.contains(|c| blank(c) || c == '"' || char::is_control(c)) {
            return Err(Error::invalid(format!(
                "{device:?} cannot name the root file system in a kernel command line"
            ))
            .with_hint("give it a label without blanks and quotes"));
        }
        let before = self.root().map(str::to_owned);
        let places: Vec<usize> = self.roots().collect();
        for at in places.iter().skip(1).rev() {
            self.words.remove(*at);
        }
        let word = format!("root={device}");
        match places.first() {
            Some(at) => self.words[*at] = word,
            None => self.words.insert(0, word),
        }
        Ok(before)
    }
}

/// What a word says after `root=`; quotes may stand around the value or around all of it.
fn root_of(word: &str) -> Option<&str> {
    word.trim_matches('"').strip_prefix("root=").map(|value| value.trim_matches('"'))
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> CommandLine {
        CommandLine::parse(text, "cmdline").unwrap()
    }

    #[test]
    fn words_are_cut_as_the_kernel_cuts_them() {
        #[rustfmt::skip]
        let entries: &[(&str, &[&str])] = &[
            ("", &[]),
            ("\n \t\n", &[]),
            ("ro quiet\n", &["ro", "quiet"]),
            ("root=LABEL=ROOT ro\nconsole=ttyS0\nquiet\n", &["root=LABEL=ROOT", "ro", "console=ttyS0", "quiet"]),
            ("color=#ff0000 a=\"a#b\"", &["color=#ff0000", "a=\"a#b\""]),
            ("a \"b  c\" d=\"e  f\"g", &["a", "\"b  c\"", "d=\"e  f\"g"]),
            ("# a comment with a \" quote\n  # another\nro # no comment", &["ro", "#", "no", "comment"]),
            ("a\r\nb\r\n", &["a", "b"]),
            ("it's 'so here'", &["it's", "'so", "here'"]),
            ("a\\ b", &["a\\", "b"]),
        ];
        for (text, words) in entries {
            assert_eq!(parse(text).words(), *words, "{text:?}");
        }
        for (text, said) in [
            ("a\nb=\"c d\n\"", "cmdline, line 2, has a quote that nothing closes: b=\"c d"),
            ("a\u{1b}[31m", "cmdline, line 1, has the character '\\u{1b}': a"),
        ] {
            let error = CommandLine::parse(text, "cmdline").unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn the_root_is_set_where_one_stands() {
        #[rustfmt::skip]
        let entries: &[(&str, &str, Option<&str>)] = &[
            ("ro quiet", "root=NEW ro quiet", None),
            ("root=LABEL=ROOT ro", "root=NEW ro", Some("LABEL=ROOT")),
            ("quiet root=OLD ro", "quiet root=NEW ro", Some("OLD")),
            ("quiet \"root=OLD\" ro", "quiet root=NEW ro", Some("OLD")),
            ("root=\"OLD\" ro", "root=NEW ro", Some("OLD")),
            ("root=A ro root=B", "root=NEW ro", Some("B")),
            ("rootwait xroot=A", "root=NEW rootwait xroot=A", None),
            ("ro -- root=A", "root=NEW ro -- root=A", None),
            ("", "root=NEW", None),
        ];
        for (text, expected, before) in entries {
            let mut line = parse(text);
            assert_eq!(line.set_root("NEW").unwrap().as_deref(), *before, "{text}");
            assert_eq!(line.to_string(), *expected, "{text}");
        }
        for device in ["", "LABEL=a b", "LABEL=\"a\"", "a\nb"] {
            assert!(parse("ro").set_root(device).is_err(), "{device:?}");
        }
    }

    proptest! {
        /// Nothing but blanks between words is lost, and what is printed reads back.
        #[test]
        fn nothing_is_lost(text in "[a-z#=\" \t\n]{0,40}") {
            if let Ok(line) = CommandLine::parse(&text, "cmdline") {
                prop_assert_eq!(line.words().iter().filter(|word| word.is_empty()).count(), 0);
                let first = line.words().first().is_some_and(|word| word.starts_with('#'));
                if !first {
                    prop_assert_eq!(&parse(&line.to_string()), &line);
                }
                let comment = |line: &&str| line.trim_start_matches(blank).starts_with('#');
                let kept: String = text.lines().filter(|line| !comment(line)).collect();
                let solid = |text: &str| text.replace(blank, "");
                prop_assert_eq!(solid(&line.to_string()), solid(&kept));
            }
        }

        /// No text makes the parser panic.
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Ok(mut line) = CommandLine::parse(&text, "cmdline") {
                let _ = line.set_root(&text);
                prop_assert!(line.root().is_none_or(|root| !root.is_empty()) || text.contains("root="));
            }
        }
    }
}
