//! The path a backend sees in place of the one that was asked for.

/// Replaces the prefix that a route has matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathRewrite {
    /// Bytes of the matched prefix, without its final slashes.
    prefix_bytes: usize,
    /// Without its final slashes.
    replacement: Box<[u8]>,
}

impl PathRewrite {
    /// Replaces `path`, the route's, by `replacement`; `/` or nothing strips it.
    #[must_use]
    pub fn new(path: &str, replacement: &str) -> Self {
        let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
        Self { prefix_bytes: trimmed(path).len(), replacement: trimmed(replacement).into_bytes().into() }
    }

    /// Appends the new target to `out`. What follows the prefix, query included, is left as it came.
    ///
    /// Slashes that would come to stand at the beginning are one: `//host/x` is an address of another host
    /// to many who read it.
    pub(super) fn write(&self, target: &[u8], out: &mut Vec<u8>) {
        let mut rest = target.get(self.prefix_bytes..).unwrap_or_default();
        if self.replacement.is_empty() {
            while let [b'/', b'/', ..] = rest {
                rest = &rest[1..];
            }
        }
        out.extend_from_slice(&self.replacement);
        if rest.first() != Some(&b'/') {
            out.push(b'/');
        }
        out.extend_from_slice(rest);
    }
}
