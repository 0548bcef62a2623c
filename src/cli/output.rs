//! Output: tables as the Go tools print them, sizes, and text that cannot play tricks on a
//! terminal.

use std::io::{self, Write};

use osimage::{Error, Result};

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
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints data.
pub fn print(text: &str) -> Result<()> {
    Stdout
        .write_all(text.as_bytes())
        .and_then(|()| Stdout.flush())
        .map_err(|e| Error::io("write", "standard output", e))
}

/// Prints a line of data.
pub fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Characters that steer a terminal, or (bidirectional marks) make a line read as another one.
fn is_tricky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    for c in osimage::json::to_string_pretty(value).chars() {
        match c {
            c if c != '\n' && is_tricky(c) => text.push_str(&format!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
    line(&text)
}

/// A table with the columns' widths of the Go tools: at least 12, one space between, the last one
/// as it is.
pub fn table(rows: &[Vec<String>]) -> String {
    const MIN_WIDTH: usize = 12;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
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
