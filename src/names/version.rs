//! Tags as versions: their order, and the newest (semver.org, "Precedence").

use semver::Version;

/// Sorts tags by their version, oldest first; what is no version comes before them, as it was.
///
/// A version has one number to three, with or without a `v`, and with `_` for the `+` that a tag
/// cannot have.
///
/// ```
/// use osimage::names::sort_by_version;
/// let mut tags = ["v1.10", "1.9", "latest", "1.10-rc.1"].map(str::to_owned);
/// sort_by_version(&mut tags);
/// assert_eq!(tags, ["latest", "1.9", "1.10-rc.1", "v1.10"]);
/// ```
pub fn sort_by_version(tags: &mut [String]) {
    tags.sort_by_cached_key(|tag| version(tag));
}

/// The newest version among tags that fit a pattern, in which `*` stands for any text. Without a
/// pattern no version counts that is marked by a `-`, such as `-rc.1`, where there are others. Of two
/// spellings of one version it is the last in the order of texts.
///
/// ```
/// use osimage::names::latest_version;
/// let tags = ["1.9", "1.10", "2.0-rc.1", "latest"].map(str::to_owned);
/// assert_eq!(latest_version(&tags, None), Some("1.10"));
/// assert_eq!(latest_version(&tags, Some("2*")), Some("2.0-rc.1"));
/// ```
pub fn latest_version<'t>(tags: &'t [String], pattern: Option<&str>) -> Option<&'t str> {
    let versions = tags.iter().filter_map(|tag| Some((version(tag)?, tag.as_str())));
    let versions: Vec<_> =
        versions.filter(|(_, tag)| pattern.is_none_or(|pattern| fits(tag, pattern))).collect();
    let released = versions.iter().filter(|(version, _)| version.pre.is_empty());
    let released = released.max().filter(|_| pattern.is_none());
    released.or_else(|| versions.iter().max()).map(|(_, tag)| *tag)
}

/// Whether a text fits a pattern, in which `*` stands for any text.
fn fits(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

/// A tag as a version: with or without `v`, with one number or more, and with `_` for the `+` that a
/// tag cannot have.
fn version(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag).replacen('_', "+", 1);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut numbers: Vec<u64> =
        numbers.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    if numbers.len() > 3 {
        return None;
    }
    numbers.resize(3, 0);
    format!("{}.{}.{}{rest}", numbers[0], numbers[1], numbers[2]).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_as_versions() {
        let mut tags =
            ["v1.10", "1.9", "latest", "2", "1.9.1", "1.10-rc.1", "2024.01.05", "1.9_b", "1.2.3.4"]
                .map(str::to_owned);
        sort_by_version(&mut tags);
        let sorted =
            ["latest", "1.2.3.4", "1.9", "1.9_b", "1.9.1", "1.10-rc.1", "v1.10", "2", "2024.01.05"];
        assert_eq!(tags, sorted);
    }

    #[test]
    fn the_newest_version_is_found() {
        let tags = ["1.9", "1.10", "v1.10", "2.0-rc.1", "latest", "0.9-amd64", "0.10-amd64"];
        let tags = tags.map(str::to_owned);
        for (pattern, expected) in [
            ("", Some("v1.10")),
            ("1.*", Some("1.10")),
            ("2*", Some("2.0-rc.1")),
            ("*-amd64", Some("0.10-amd64")),
            ("0.*-a*64", Some("0.10-amd64")),
            ("1.9", Some("1.9")),
            ("lat*", None),
            ("3*", None),
        ] {
            let pattern = (!pattern.is_empty()).then_some(pattern);
            assert_eq!(latest_version(&tags, pattern), expected, "{pattern:?}");
        }
        let marked = ["1.0-amd64", "1.1-amd64", "x"].map(str::to_owned);
        assert_eq!(latest_version(&marked, None), Some("1.1-amd64"));
        assert_eq!(latest_version(&[], None), None);
        for (text, pattern, expected) in
            [("abc", "a*c", true), ("aa", "a*a", true), ("a", "a*a", false), ("ab", "*", true)]
        {
            assert_eq!(fits(text, pattern), expected, "{text} {pattern}");
        }
    }
}
