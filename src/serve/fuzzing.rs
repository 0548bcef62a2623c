//! Requests of foreign bytes, and lists of machines, for `fuzz/`.

use hyper::header::{HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE};

use super::answer;
use super::hosts::Hosts;
use super::route::{self, Api, Route};
use crate::names::RepositoryName;

/// A path, a query and a range, each on a line, and behind them a list of machines. What a path
/// asks for has names in it that are the same when they are read again, and no part of it leads
/// elsewhere.
pub(crate) fn request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(4, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (path, query, range, hosts) = (next(), next(), next(), next());
    let is_name = |name: &RepositoryName| {
        let again = RepositoryName::new(name.host().clone(), name.path());
        assert_eq!(again.ok().as_ref(), Some(name));
        assert!(!name.to_string().contains(".."));
    };
    match route::parse(path, query) {
        Some(Route::Boot { image, file, .. }) => {
            is_name(&image.repository);
            assert!(!file.contains(['/', '\\', '\0']) && file != ".." && file != ".");
        }
        Some(Route::Sysupdate(updates)) => is_name(&updates.whole),
        Some(Route::Layer { repository, .. }) => is_name(&repository),
        Some(Route::Script(machine)) => assert!(machine.shown().is_ascii()),
        Some(Route::Registry(Api::Blob(name, _) | Api::Tags(name) | Api::Referrers(name, _))) => {
            is_name(&name);
        }
        Some(Route::Registry(Api::Manifest(image))) => is_name(&image.repository),
        _ => {}
    }
    if let Ok(value) = HeaderValue::from_str(range) {
        let mut headers = HeaderMap::new();
        for name in [RANGE, IF_RANGE, IF_NONE_MATCH] {
            headers.insert(name, value.clone());
            for size in [0, 1, 1000, u64::MAX] {
                let part = answer::part(&hyper::Method::GET, &headers, "\"x\"", size).bytes(size);
                assert!(part.is_none_or(|(start, end)| start <= end && end <= size));
            }
        }
    }
    if let Ok(hosts) = Hosts::parse(hosts) {
        let _ = hosts.find(Some(path), Some(query));
        assert!(hosts.images().all(|image| image.tag_or_digest().is_ok()));
    }
}
