//! `osimage completions` and `man`: what a package installs beside the program.

use std::path::PathBuf;

use osimage::{Error, Result, durable};

use super::manner::Manner;
use super::{help, output};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage completions bash >/etc/bash_completion.d/osimage
  osimage completions zsh >\"${fpath[1]}/_osimage\"
  osimage completions fish >~/.config/fish/completions/osimage.fish")]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub fn completions(args: &CompletionsArgs, manner: &Manner) -> Result<()> {
    let mut script = Vec::new();
    let mut command = help::command(manner);
    clap_complete::generate(args.shell, &mut command, manner.program, &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// Print the manual page, or write one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  osimage man | man -l -
  osimage man -o /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Folder for a page for each command, made if it is missing
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn man(args: &ManArgs, manner: &Manner) -> Result<()> {
    let mut command = help::command(manner);
    command.build();
    match &args.output {
        None => output::print(&page(&command)?),
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::io("create the folder", folder, e))?;
            write_pages(folder, &command)
        }
    }
}

/// Writes the page of a command, called `osimage-build` and so on, and those of its subcommands.
fn write_pages(folder: &std::path::Path, command: &clap::Command) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    durable::write(&path, page(command)?.as_bytes())?;
    output::line(&path.display().to_string())?;
    command
        .get_subcommands()
        .filter(|subcommand| subcommand.get_name() != "help")
        .try_for_each(|subcommand| write_pages(folder, subcommand))
}

fn page(command: &clap::Command) -> Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .map_err(|e| Error::io("make", "the manual page", e))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
