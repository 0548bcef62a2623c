//! What of a file is answered, and how: conditions and ranges of a request (RFC 9110, 13 and 14).
//! It looks at headers alone.

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, StatusCode};

/// What goes out of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// These bytes, `start..end`.
    Range(u64, u64),
    /// Nothing: the client has it.
    NotModified,
    /// Nothing: what the client has is another one.
    Failed,
    /// Nothing: there are no such bytes.
    NoSuchRange,
}

impl Part {
    /// The status that tells this.
    pub fn status(self) -> StatusCode {
        match self {
            Part::Whole => StatusCode::OK,
            Part::Range(..) => StatusCode::PARTIAL_CONTENT,
            Part::NotModified => StatusCode::NOT_MODIFIED,
            Part::Failed => StatusCode::PRECONDITION_FAILED,
            Part::NoSuchRange => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// The bytes of a file of that size that go out.
    pub fn bytes(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Part::Whole => Some((0, size)),
            Part::Range(start, end) => Some((start, end)),
            Part::NotModified | Part::Failed | Part::NoSuchRange => None,
        }
    }
}

/// Decides which part of a file a request gets; `tag` is its strong entity tag with its quotes,
/// `size` its size in bytes. The order is that of RFC 9110, 13.2.2; no file has a date.
pub(super) fn part(method: &Method, headers: &HeaderMap, tag: &str, size: u64) -> Part {
    if let Some(wanted) = list(headers, &header::IF_MATCH)
        && !wanted.iter().any(|one| *one == "*" || *one == tag)
    {
        return Part::Failed;
    }
    if let Some(known) = list(headers, &header::IF_NONE_MATCH)
        // The comparison is weak (RFC 9110, 13.1.2).
        && known.iter().any(|one| *one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    {
        return Part::NotModified;
    }
    // A part is for GET alone (RFC 9110, 14.2).
    let range = one(headers, &header::RANGE).filter(|_| method == Method::GET);
    let Some(range) = range else { return Part::Whole };
    // A date in its place is that of no file (RFC 9110, 13.1.5).
    if headers.contains_key(header::IF_RANGE) && one(headers, &header::IF_RANGE) != Some(tag) {
        return Part::Whole;
    }
    let Some(spec) = range.strip_prefix("bytes=") else { return Part::Whole };
    // Several ranges may be answered by the whole (RFC 9110, 14.2).
    match parse(spec.trim(), size) {
        None => Part::Whole,
        Some(None) => Part::NoSuchRange,
        Some(Some((start, end))) => Part::Range(start, end),
    }
}

/// One range of bytes; `None` where it is none that is understood, and nothing inside where it lies
/// outside.
fn parse(spec: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A larger number than there is means the end.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let count = number(last)?.min(size);
        return Some((count > 0).then(|| (size - count, size)));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < size).then(|| (first, last.saturating_add(1).min(size))))
}

/// The only header of a name; none where there are several, or where it is no text.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first.trim())
}

/// The members of a list of entity tags; `None` where there is no such header. None of ours has a
/// comma in it.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Vec<&'a str>> {
    if !headers.contains_key(name) {
        return None;
    }
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    Some(texts.flat_map(|text| text.split(',')).map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"sha256:44\"";

    fn answered(size: u64, headers: &[(&str, &str)]) -> Part {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        part(&Method::GET, &map, TAG, size)
    }

    #[test]
    fn ranges() {
        use Part::{NoSuchRange, Range, Whole};
        for (size, range, expected) in [
            (10, "bytes=0-", Range(0, 10)),
            (10, "bytes=0-0", Range(0, 1)),
            (10, "bytes=9-", Range(9, 10)),
            (10, "bytes=3-5", Range(3, 6)),
            (10, "bytes=3-99999999999999999999999", Range(3, 10)),
            (10, "bytes=-3", Range(7, 10)),
            (10, "bytes=-99", Range(0, 10)),
            (10, "bytes= 3-5 ", Range(3, 6)),
            (10, "bytes=10-", NoSuchRange),
            (10, "bytes=99999999999999999999999-", NoSuchRange),
            (10, "bytes=-0", NoSuchRange),
            (0, "bytes=0-", NoSuchRange),
            (0, "bytes=-1", NoSuchRange),
            // What is no range, or is not understood, is as if it were not there.
            (10, "bytes=5-3", Whole),
            (10, "bytes=0-1,3-4", Whole),
            (10, "bytes=", Whole),
            (10, "bytes=-", Whole),
            (10, "bytes=a-b", Whole),
            (10, "bytes=+1-2", Whole),
            (10, "bytes=1-2x", Whole),
            (10, "bytes=0x1-", Whole),
            (10, "lines=1-2", Whole),
            (10, "1-2", Whole),
        ] {
            assert_eq!(answered(size, &[("range", range)]), expected, "{range} of {size}");
        }
        assert_eq!(answered(10, &[("range", "bytes=0-1"), ("range", "bytes=2-3")]), Whole);
        let beyond = HeaderMap::from_iter([(header::RANGE, "bytes=10-".parse().unwrap())]);
        assert_eq!(part(&Method::HEAD, &beyond, TAG, 10), Whole);
    }

    #[test]
    fn conditions() {
        use Part::{Failed, NotModified, Range, Whole};
        let range = ("range", "bytes=1-");
        for (headers, expected) in [
            (&[][..], Whole),
            (&[("if-none-match", TAG)], NotModified),
            (&[("if-none-match", "W/\"sha256:44\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"x\", \"sha256:44\"")], NotModified),
            (&[("if-none-match", "\"x\"")], Whole),
            (&[("if-none-match", "sha256:44")], Whole),
            (&[("if-none-match", TAG), range], NotModified),
            (&[("if-match", TAG)], Whole),
            (&[("if-match", "*")], Whole),
            (&[("if-match", "\"x\"")], Failed),
            (&[("if-match", "W/\"sha256:44\"")], Failed),
            (&[("if-match", "\"x\""), ("if-none-match", TAG)], Failed),
            (&[("if-range", TAG), range], Range(1, 10)),
            (&[("if-range", "\"x\""), range], Whole),
            (&[("if-range", "W/\"sha256:44\""), range], Whole),
            (&[("if-range", "Sat, 29 Oct 1994 19:43:31 GMT"), range], Whole),
            (&[("if-range", TAG), ("if-range", TAG), range], Whole),
            (&[("if-range", TAG)], Whole),
        ] {
            assert_eq!(answered(10, headers), expected, "{headers:?}");
        }
    }
}
