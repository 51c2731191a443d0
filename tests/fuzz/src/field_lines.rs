//! A written head, read back by plain means: nothing of the parser under test is used here.

/// Start line and field lines of one head.
#[derive(Debug)]
pub(crate) struct FieldLines<'a> {
    pub(crate) start: &'a str,
    /// Names in lower case, with their values.
    fields: Vec<(String, &'a str)>,
}

impl<'a> FieldLines<'a> {
    /// Takes a head apart that must be one: lines that end in CRLF, the last one empty, no other control byte.
    ///
    /// # Panics
    /// If it is none. Bytes above ASCII are legal in values; callers pass the head through
    /// [`printable`] first.
    pub(crate) fn of(head: &'a str) -> Self {
        let lines = head.strip_suffix("\r\n\r\n").unwrap_or_else(|| panic!("no end: {head:?}"));
        let mut lines = lines.split("\r\n");
        let start = lines.next().unwrap_or_default();
        let fields: Vec<_> = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
                assert!(!name.is_empty() && !name.contains([' ', '\t', ':']), "bad name: {line:?}");
                (name.to_ascii_lowercase(), value)
            })
            .collect();
        for text in fields.iter().map(|(_, value)| *value).chain([start]) {
            assert!(text.chars().all(|c| c == '\t' || !c.is_ascii_control()), "control byte: {text:?}");
        }
        Self { start, fields }
    }

    /// The values of all fields of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&'a str> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| *value).collect()
    }

    /// The names of all fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// The one declaration of framing: `Content-Length`'s or `Transfer-Encoding`'s value.
    ///
    /// # Panics
    /// If there are two declarations, or one that is not canonical.
    pub(crate) fn framing(&self) -> Option<&'a str> {
        let lengths = self.all("content-length");
        let codings = self.all("transfer-encoding");
        assert!(lengths.len() + codings.len() <= 1, "framed twice: {self:?}");
        for length in &lengths {
            let number: u64 = length.parse().unwrap_or_else(|_| panic!("no length: {length:?}"));
            assert_eq!(number.to_string(), **length, "not canonical");
        }
        assert!(codings.iter().all(|coding| *coding == "chunked"), "{codings:?}");
        lengths.first().or(codings.first()).copied()
    }
}

/// `head` as text, with `?` for every byte above ASCII.
pub(crate) fn printable(head: &[u8]) -> String {
    head.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect()
}
