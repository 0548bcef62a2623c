//! The command line as its help shows it: options where they mean something, examples that fit a
//! terminal of 80 columns.

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// A terminal has at least so many columns.
const COLUMNS: usize = 80;

/// The options of every command, by what they are about.
const STORE: &[&str] = &["store_path", "max_size"];
const REGISTRIES: &[&str] = &[
    "plain_http",
    "insecure",
    "ca_file",
    "cert_file",
    "key_file",
    "resolve",
    "registry_config",
    "retry",
    "debug",
];
/// Those that mean nothing to a command. They are taken there, since a script may give them to every
/// command, and not shown.
const NOT_SHOWN: &[(&str, &[&[&str]])] = &[
    ("login", &[STORE]),
    ("logout", &[STORE]),
    ("url", &[STORE]),
    ("resolve", &[STORE]),
    ("tags", &[STORE]),
    ("repos", &[STORE]),
    ("manifest", &[STORE]),
    ("blob", &[STORE]),
    ("gc", &[&["max_size"], REGISTRIES]),
    ("compress", &[STORE, REGISTRIES]),
    ("features", &[STORE, REGISTRIES]),
    ("completions", &[STORE, REGISTRIES]),
    ("man", &[STORE, REGISTRIES]),
];

/// The command line of the program.
pub fn command() -> Command {
    let command = fitted(Cli::command());
    let global: Vec<Arg> =
        command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    NOT_SHOWN.iter().fold(command, |command, (name, groups)| {
        let hidden = |arg: &&Arg| groups.iter().any(|group| group.contains(&arg.get_id().as_str()));
        // An option of the command itself takes the place of the one of every command.
        let own = global.iter().filter(hidden).map(|arg| arg.clone().hide(true));
        command.mut_subcommand(name, |command| command.args(own))
    })
}

/// A command, and those below it, with examples that fit.
fn fitted(command: Command) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(text) => {
            let lines: Vec<_> = text.lines().map(fit).collect();
            command.after_help(lines.join("\n"))
        }
        None => command,
    };
    let names: Vec<_> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| command.mut_subcommand(name, fitted))
}

/// A line of examples that fits: what it is for goes to a line of its own, and a command goes on
/// in the next one. Other lines are prose, which wraps anywhere.
fn fit(line: &str) -> String {
    if line.chars().count() <= COLUMNS || !line.starts_with("  ") {
        return line.to_owned();
    }
    let (example, purpose) = match line.trim_start().split_once("  ") {
        Some((example, purpose)) => (example, purpose.trim_start()),
        None => (line.trim_start(), ""),
    };
    let mut lines = vec!["  ".to_owned()];
    for word in example.split(' ') {
        let line = lines.last_mut().expect("there is one");
        let fresh = line.trim().is_empty();
        // What follows may need its ` \`.
        if !fresh && line.chars().count() + 1 + word.chars().count() > COLUMNS - 2 {
            line.push_str(" \\");
            lines.push(format!("      {word}"));
        } else {
            line.push_str(if fresh { "" } else { " " });
            line.push_str(word);
        }
    }
    if !purpose.is_empty() {
        lines.push(format!("      # {purpose}"));
    }
    lines.join("\n")
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
        let command = command();
        for command in all(&command) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // A digest is one word, which nothing breaks.
            let examples = text.lines().filter(|line| line.starts_with("  "));
            for line in examples.filter(|line| line.trim().contains(' ')) {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn a_long_example_goes_on_in_the_next_line() {
        let long = "  osimage copy ghcr.io/me/os:1.0 mirror.example.org/os:1.0        nothing touches the disk";
        assert_eq!(
            fit(long),
            "  osimage copy ghcr.io/me/os:1.0 mirror.example.org/os:1.0\n      # nothing touches the disk"
        );
        let long = format!("  osimage build {}", "--option value ".repeat(7).trim_end());
        let fitted = fit(&long);
        assert!(
            fitted.lines().count() > 1 && fitted.replace(" \\\n      ", " ") == long,
            "{fitted}"
        );
        assert_eq!(fit("  osimage gc"), "  osimage gc");
    }

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
        let ids: Vec<String> = command()
            .get_arguments()
            .filter(|arg| arg.is_global_set())
            .map(|arg| arg.get_id().to_string())
            .collect();
        for id in STORE.iter().chain(REGISTRIES) {
            assert!(ids.iter().any(|known| known == id), "{id}");
        }
    }
}
