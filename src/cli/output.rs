//! Output: tables as the Go tools print them, sizes, and text that cannot play tricks on a
//! terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::LazyLock;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;
use indicatif::{MultiProgress, ProgressDrawTarget};
use osimage::{Error, Result};

/// How a command tells what it has put somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Told {
    /// In words
    Text,
    /// As JSON
    Json,
    /// REPOSITORY@DIGEST alone, for the next command
    Reference,
}

/// The bars on the terminal. Whatever else is written there is written between them.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Where bars are drawn.
pub fn bars() -> &'static MultiProgress {
    &BARS
}

/// The standard output. A reader that goes away early, as `head` does, is no failure: the rest of
/// the output is dropped, and what the command does besides printing is done to its end.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        dropping(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        dropping(io::stdout().flush(), ())
    }
}

fn dropping<T>(result: io::Result<T>, as_if: T) -> io::Result<T> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(as_if),
        result => result,
    }
}

/// Says something on stderr; where that cannot be written, nobody listens.
pub fn say(text: &str) {
    BARS.suspend(|| {
        let _ = writeln!(io::stderr(), "{text}");
    });
}

/// Prints data.
pub fn print(text: &str) -> Result<()> {
    BARS.suspend(|| Stdout.write_all(text.as_bytes()).and_then(|()| Stdout.flush()))
        .map_err(|e| Error::io("write", "standard output", e))
}

/// Prints a line of data.
pub fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Prints content as it is. A terminal gets text alone, with every character written out that could
/// steer it, unless `force` says that it is to get everything.
///
/// # Errors
/// [`Error::Refused`] where it is no text; [`Error::Io`].
pub fn content(mut content: impl Read, force: bool) -> Result<()> {
    /// The longest text that is shown.
    const LONGEST: u64 = 4 << 20;
    let failed = |e| Error::io("write", "standard output", e);
    if force || !io::stdout().is_terminal() {
        return io::copy(&mut content, &mut Stdout).and_then(|_| Stdout.flush()).map_err(failed);
    }
    let mut bytes = Vec::new();
    content.by_ref().take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if bytes.len() as u64 <= LONGEST && !text.contains('\0') => {
            line(&text.lines().map(visible).collect::<Vec<_>>().join("\n"))
        }
        _ => Err(Error::refused("the content is no text, and would go to a terminal")
            .with_hint("--output writes it to a file; --force writes it all the same")),
    }
}

/// Characters that steer a terminal, cannot be seen, or make a line read as another one: control and
/// format characters, the separators of lines and paragraphs (Unicode's Cc, Cf, Zl, Zp).
fn is_tricky(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    !c.is_ascii() && {
        let category = CodePointMapData::<GeneralCategory>::new().get(c);
        matches!(category, Control | Format | LineSeparator | ParagraphSeparator)
    } || c.is_ascii_control()
}

/// The text with every control character written out, so that a name from elsewhere cannot steer
/// the terminal.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_tricky(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Prints a value as indented JSON. JSON itself lets some control characters stand in strings; they
/// are escaped as the others are, which changes nothing of what the JSON means.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = String::new();
    for c in super::json::pretty(value).chars() {
        match c {
            c if c != '\n' && is_tricky(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => text.push(c),
        }
    }
    line(&text)
}

/// The text, cut where it is longer than so many characters.
pub fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A table with the columns' widths of the Go tools: at least 12, one space between, the last one
/// as it is. A cell that is longer than a name can be is cut, since the others of its column are
/// made as wide.
pub fn table(rows: &[Vec<String>]) -> String {
    const MIN_WIDTH: usize = 12;
    // A host has 255 characters at most, a repository's path as many.
    const MAX_WIDTH: usize = 512;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| visible(&cut(cell, MAX_WIDTH))).collect())
        .collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count() + 1)
            .max()
            .unwrap_or(0)
            .max(MIN_WIDTH)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

/// A number of things.
pub fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("a\u{1b}[2Jb\r\n\u{202e}"), "a\\u{1b}[2Jb\\r\\n\\u{202e}");
        assert_eq!(visible("größe ✓"), "größe ✓");
        for tricky in [
            '\0',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{2060}',
            '\u{2066}',
            '\u{feff}',
            '\u{fff9}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
        ] {
            assert_eq!(visible(&format!("a{tricky}b")), format!("a{}b", tricky.escape_default()));
        }
        for plain in ['a', ' ', '\u{a0}', 'é', '漢', '🦀', '\u{301}'] {
            assert_eq!(visible(&plain.to_string()), plain.to_string());
        }
    }

    #[test]
    fn cells_are_cut() {
        assert_eq!((cut("größe", 5), cut("größen", 5)), ("größe".into(), "größ…".into()));
        let rows = vec![vec!["x".repeat(4 << 20), "y".into()]; 2];
        assert!(table(&rows).len() < 2000);
    }

    #[test]
    fn tables_are_those_of_the_go_tools() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows =
            [row(["REPOSITORY", "TAG", "IMAGE ID"]), row(["<none>", "<none>", "f0dcfde4f8b4"])];
        assert_eq!(
            table(&rows),
            "REPOSITORY  TAG         IMAGE ID\n<none>      <none>      f0dcfde4f8b4\n"
        );
        let rows = [
            row(["REPOSITORY", "TAG", "IMAGE ID"]),
            row(["ghcr.io/someone/something", "1.0", "f0dcfde4f8b4"]),
        ];
        assert_eq!(
            table(&rows),
            "REPOSITORY                TAG         IMAGE ID\nghcr.io/someone/something 1.0         f0dcfde4f8b4\n"
        );
    }
}
