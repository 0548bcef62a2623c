//! The command line as its help shows it: options where they mean something, examples that fit a
//! terminal of 80 columns, and prose that wraps at any width.

use clap::{Arg, Command, CommandFactory};

use super::Cli;
use super::manner::{Manner, VERBS};

/// A terminal has at least so many columns.
const COLUMNS: usize = 80;

/// Options of every command, by what they are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Store,
    Archives,
    Registries,
}

impl About {
    /// What an option of every command is about. Those of registries stand under a heading.
    fn of(option: &Arg) -> Option<Self> {
        match (option.get_id().as_str(), option.get_help_heading()) {
            ("store_path", _) => Some(About::Store),
            ("max_size", _) => Some(About::Archives),
            (_, Some("Registries")) => Some(About::Registries),
            _ => None,
        }
    }
}

const NEITHER: &[About] = &[About::Store, About::Archives, About::Registries];
const NO_STORE: &[About] = &[About::Store, About::Archives];

/// The options that mean nothing to a command. They are taken there, since a script may give them
/// to every command, and not shown.
const NOT_SHOWN: &[(&str, &[About])] = &[
    ("build", &[About::Archives, About::Registries]),
    ("tag", &[About::Archives, About::Registries]),
    ("untag", &[About::Archives, About::Registries]),
    ("gc", &[About::Archives, About::Registries]),
    ("login", NO_STORE),
    ("logout", NO_STORE),
    ("url", NO_STORE),
    ("sysupdate-config", NO_STORE),
    ("serve", NO_STORE),
    ("promote", NO_STORE),
    ("history", NO_STORE),
    ("resolve", NO_STORE),
    ("lock", NO_STORE),
    ("tags", NO_STORE),
    ("repos", NO_STORE),
    ("manifest", NO_STORE),
    ("blob", NO_STORE),
    ("keygen", NEITHER),
    ("compress", NEITHER),
    ("features", NEITHER),
    ("completions", NEITHER),
    ("man", NEITHER),
];

/// Arguments that mean nothing, where they are taken all the same.
pub const SURPLUS: &str = "surplus";

/// What is said below the help where the program stands in for another.
const STANDS_IN: &str = "Examples:
  osimage build --rootfs-file rootfs.raw --initramfs-file initrd --kernel-file vmlinuz \\
      --command-line 'root=LABEL=ROOT ro' --tag ghcr.io/me/os:1.0
  osimage list
  osimage push ghcr.io/me/os:1.0
  osimage url ghcr.io/me/os:1.0 --layer kernel

This is osimage, which does what the tool of this name does, and more; `osimage --help` tells of all.

Exit codes: 0 done, 1 failed.";

/// The command line of the program in its manner.
pub fn command(manner: &Manner) -> Command {
    let command = match manner.stands_in() {
        true => standing_in(Cli::command(), manner),
        false => Cli::command(),
    };
    let command = fitted(command);
    let global: Vec<Arg> =
        command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    NOT_SHOWN.iter().fold(command, |command, (name, about)| {
        let hidden = |arg: &&Arg| About::of(arg).is_some_and(|it| about.contains(&it));
        // An option of the command itself takes the place of the one of every command.
        let own = global.iter().filter(hidden).map(|arg| arg.clone().hide(true));
        command.mut_subcommand(name, |command| command.args(own))
    })
}

/// The command line under the name of another tool: with its store, its commands first, and what
/// it takes beyond ours.
fn standing_in(command: Command, manner: &Manner) -> Command {
    let store = format!(
        "Folder of the store: images, and what they are called [default: ~/{}]",
        manner.home_store.unwrap_or_default()
    );
    let command = command
        .name(manner.program)
        .bin_name(manner.program)
        .after_help(STANDS_IN)
        .mut_arg("store_path", |arg| arg.help(store));
    let command = VERBS.iter().enumerate().fold(command, |command, (n, verb)| {
        command.mut_subcommand(verb, |command| {
            // The last of a repeated flag counts there.
            command.display_order(n).args_override_self(true)
        })
    });
    let surplus = || Arg::new(SURPLUS).num_args(0..).hide(true);
    renamed(command, manner.program)
        .mut_subcommand("build", |command| command.arg(surplus()))
        .mut_subcommand("list", |command| {
            command
                .override_usage(format!("{} list [OPTIONS]", manner.program))
                .mut_arg("source", |arg| arg.hide(true))
                .arg(surplus())
        })
        .mut_subcommand("push", |command| {
            command.override_usage(format!("{} push [OPTIONS] <REF>", manner.program))
        })
}

/// A command, and those below it, with the other name in their examples.
fn renamed(command: Command, program: &str) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(text) => command.after_help(text.replace("osimage ", &format!("{program} "))),
        None => command,
    };
    let names: Vec<_> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| renamed(command, program))
    })
}

/// A command, and those below it, with examples that fit and prose that wraps.
fn fitted(command: Command) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(text) => command.after_help(laid_out(&text)),
        None => command,
    };
    let names: Vec<_> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| command.mut_subcommand(name, fitted))
}

/// The text below the options, for any width.
fn laid_out(text: &str) -> String {
    let paragraphs =
        text.split("\n\n").map(|paragraph| match paragraph.strip_prefix("Examples:\n") {
            Some(lines) => format!("Examples:\n{}", examples(lines)),
            None => prose(paragraph),
        });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// A paragraph as one line, which clap wraps for the terminal; the rows of a table, which are
/// indented, keep a line each.
fn prose(paragraph: &str) -> String {
    let is_row = |line: &str| line.starts_with(' ');
    let mut lines: Vec<String> = Vec::new();
    for line in paragraph.lines() {
        match lines.last_mut() {
            Some(last) if !is_row(last) && !is_row(line) => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// Examples, with what each is for as a comment of the shell's: behind it if there is room for all
/// of them, else below it.
fn examples(lines: &str) -> String {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in lines.lines() {
        let (command, purpose) = match line.trim_start().split_once("  ") {
            Some((command, purpose)) => (command, purpose.trim_start()),
            None => (line.trim_start(), ""),
        };
        let part = command.trim_end_matches(" \\");
        match all.last_mut() {
            Some((last, of_last)) if goes_on => {
                last.push(' ');
                last.push_str(part);
                of_last.push_str(purpose);
            }
            _ => all.push((part.to_owned(), purpose.to_owned())),
        }
        goes_on = part != command;
    }
    let width = |text: &str| text.chars().count();
    let told = || all.iter().filter(|(_, purpose)| !purpose.is_empty());
    let column = told().map(|(command, _)| width(command)).max().unwrap_or_default() + 2;
    let behind = told().all(|(_, purpose)| 2 + column + 2 + width(purpose) <= COLUMNS);
    let shown = all.iter().map(|(command, purpose)| match purpose.as_str() {
        "" => folded(command),
        purpose if behind => format!("  {command:column$}# {purpose}"),
        purpose => format!("{}\n      # {purpose}", folded(command)),
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// A command that goes on in the next lines where it is too long for one. An option stays with its
/// value.
fn folded(command: &str) -> String {
    let mut lines = vec!["  ".to_owned()];
    for piece in pieces(command) {
        let line = lines.last_mut().expect("there is one");
        let fresh = line.trim().is_empty();
        // What follows may need its ` \`.
        if !fresh && line.chars().count() + 1 + piece.chars().count() > COLUMNS - 2 {
            line.push_str(" \\");
            lines.push(format!("    {piece}"));
        } else {
            line.push_str(if fresh { "" } else { " " });
            line.push_str(&piece);
        }
    }
    lines.join("\n")
}

/// The pieces of a command between which a line may end: words, quoted ones and `$(…)` as a whole,
/// and an option together with the word behind it.
fn pieces(command: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let (mut quoted, mut depth) = (false, 0);
    for word in command.split(' ') {
        let after_option = pieces.last().is_some_and(|last| {
            last.starts_with('-') && !last.contains(' ') && !word.starts_with('-')
        });
        match pieces.last_mut() {
            Some(last) if quoted || depth > 0 || after_option => {
                last.push(' ');
                last.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
        for c in word.chars() {
            match c {
                '\'' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(command: &Command) -> Vec<&Command> {
        let below = command.get_subcommands().flat_map(all);
        std::iter::once(command).chain(below).collect()
    }

    #[test]
    fn examples_fit_a_terminal_of_80_columns() {
        let command = command(Manner::of_program());
        for command in all(&command) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // A digest is one word, which nothing breaks.
            let examples = text.lines().filter(|line| line.starts_with("  "));
            for line in examples.filter(|line| line.trim().contains(' ')) {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", command.get_name());
            }
        }
    }

    /// What is behind an example can be typed along with it.
    #[test]
    fn the_purpose_of_an_example_is_a_comment() {
        let rows = "  osimage gc      frees space\n  osimage list";
        assert_eq!(examples(rows), "  osimage gc  # frees space\n  osimage list");
        let long = format!("  osimage gc      {}\n  osimage list    shows all", "long ".repeat(14));
        assert_eq!(
            examples(&long),
            format!(
                "  osimage gc\n      # {}\n  osimage list\n      # shows all",
                "long ".repeat(14)
            )
        );
        let command = command(Manner::of_program());
        for command in all(&command) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let Some(lines) = text.strip_prefix("Examples:\n") else { continue };
            let lines = lines.split("\n\n").next().unwrap_or_default();
            for line in lines.lines() {
                assert!(!line.trim().contains("  ") || line.contains("  # "), "{line}");
            }
        }
    }

    #[test]
    fn a_long_example_goes_on_in_the_next_line() {
        let long = format!("osimage build {}", "--option value ".repeat(7).trim_end());
        let shown = folded(&long);
        assert!(shown.lines().count() > 1, "{shown}");
        assert_eq!(shown.replace(" \\\n    ", " "), format!("  {long}"));
        // No line ends between an option and its value, in a quoted word or in `$(…)`.
        assert!(shown.lines().all(|line| !line.ends_with("--option \\")), "{shown}");
        assert_eq!(
            pieces("osimage rm --line 'a b' -y x@$(osimage id x) | sh"),
            ["osimage", "rm", "--line 'a b'", "-y x@$(osimage id x)", "|", "sh"]
        );
        assert_eq!(folded("osimage gc"), "  osimage gc");
    }

    #[test]
    fn prose_is_left_to_wrap_and_tables_are_not() {
        assert_eq!(
            laid_out("One\ntwo:\n  A  B\n  a  b\nthree\nfour"),
            "One two:\n  A  B\n  a  b\nthree four"
        );
        assert_eq!(laid_out("Examples:\n  a\n\nb\nc"), "Examples:\n  a\n\nb c");
    }

    #[test]
    fn the_command_line_holds_together() {
        command(Manner::of_program()).debug_assert();
        // Every option of all commands is about something.
        for option in
            command(Manner::of_program()).get_arguments().filter(|arg| arg.is_global_set())
        {
            assert!(About::of(option).is_some(), "{}", option.get_id());
        }
    }
}
