//! The header `Link` (RFC 8288), which names the next page of a list.

use reqwest::header::{HeaderMap, LINK};

use crate::words;

/// Where the next page of a list is, as it stands in the headers; nothing where this is the last
/// one.
///
/// # Errors
/// The header's words, where they are no list of links: a page that cannot be found is no end.
pub(super) fn next(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut next = None;
    for value in headers.get_all(LINK) {
        let shown = || words::foreign(&String::from_utf8_lossy(value.as_bytes()));
        let links = value.to_str().ok().and_then(parse).ok_or_else(&shown)?;
        for (target, relations) in links {
            let is_next = relations.split_whitespace().any(|it| it.eq_ignore_ascii_case("next"));
            if !is_next {
                continue;
            }
            if next.as_ref().is_some_and(|other| *other != target) {
                return Err(shown());
            }
            next = Some(target);
        }
    }
    Ok(next)
}

/// The links in one header, each with its relations (RFC 8288, 3: `<TARGET>; rel="A B", …`). Commas
/// and semicolons divide only outside of `<>` and of quotes.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let is_between = |c: char| c == ',' || c.is_ascii_whitespace();
    let mut links = Vec::new();
    let mut rest = text.trim_start_matches(is_between);
    while !rest.is_empty() {
        let (target, mut after) = rest.strip_prefix('<')?.split_once('>')?;
        let mut relations: Option<String> = None;
        after = after.trim_start();
        while let Some(parameter) = after.strip_prefix(';') {
            let (name, value);
            (name, value, after) = self::parameter(parameter.trim_start())?;
            // Only the first counts (RFC 8288, 3.3).
            if name.eq_ignore_ascii_case("rel") {
                relations.get_or_insert(value);
            }
        }
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        links.push((target.to_owned(), relations.unwrap_or_default()));
        rest = after.trim_start_matches(is_between);
    }
    Some(links)
}

/// A parameter's name and value, which may be quoted or missing, and what is behind it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let is_end = |c: char| matches!(c, '=' | ';' | ',') || c.is_ascii_whitespace();
    let (name, rest) = text.split_at(text.find(is_end).unwrap_or(text.len()));
    let Some(value) = rest.trim_start().strip_prefix('=') else {
        return Some((name, String::new(), rest.trim_start()));
    };
    let value = value.trim_start();
    let Some(quoted) = value.strip_prefix('"') else {
        let (value, rest) = value.split_at(value.find(is_end).unwrap_or(value.len()));
        return Some((name, value.to_owned(), rest.trim_start()));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Some((name, value, quoted[at + 1..].trim_start())),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LINK, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_next_page_is_found_among_quotes_and_commas() {
        for (values, found) in [
            (&[][..], None),
            (&[""], None),
            (&["</a?last=x>; rel=\"next\""], Some("/a?last=x")),
            (&["</a?last=x>;rel=next"], Some("/a?last=x")),
            (&["</a?last=x,y;z>; rel=\"next\""], Some("/a?last=x,y;z")),
            (&["</a>; REL=\"prev NEXT\""], Some("/a")),
            (&["</a>; title=\"a, b; rel=next\"; rel=\"next\""], Some("/a")),
            (&["</a>; title=\"say \\\"x\\\", y\"; rel=next"], Some("/a")),
            (&["</p>; rel=prev, </a>; rel=next"], Some("/a")),
            (&["</p>; rel=prev", "</a>; rel=next"], Some("/a")),
            (&["</p>; rel=prev,,  </a> ; crossorigin ; rel = next ,"], Some("/a")),
            (&["</a>; rel=next, </a>; rel=next"], Some("/a")),
            (&["</a>; rel=prev; rel=next"], None),
            (&["</a>; relation=next"], None),
            (&["</a>; rel=nextpage"], None),
            (&["</a>"], None),
            (&["<>; rel=next"], Some("")),
        ] {
            assert_eq!(next(&headers(values)), Ok(found.map(str::to_owned)), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_links_is_no_end() {
        for value in [
            "/a; rel=next",
            "</a; rel=next",
            "</a>; rel=\"next",
            "</a> rel=next",
            "</a>; rel=next x",
            "</a>; rel=next, /b; rel=last",
            "</a>; rel=next, </b>; rel=next",
            "next",
            "</ä>; rel=next",
        ] {
            assert!(next(&headers(&[value])).is_err(), "{value}");
        }
    }
}
