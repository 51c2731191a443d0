//! The archive a kernel unpacks as its first file system: cpio, form "newc", as in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::collections::BTreeSet;
use std::path::{Component, Path};

const FOLDER: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
/// Names and contents begin at multiples of this.
const ALIGNMENT: usize = 4;

/// An archive under construction. A folder comes into being with its first entry.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    pub(crate) fn folder(&mut self, path: &str) {
        let mut whole = String::new();
        for part in Path::new(path).components() {
            if let Component::Normal(name) = part {
                if !whole.is_empty() {
                    whole.push('/');
                }
                whole.push_str(&name.to_string_lossy());
                if self.folders.insert(whole.clone()) {
                    self.entry(&whole, FOLDER, &[]);
                }
            }
        }
    }

    /// A file that may be executed.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.parent_of(path);
        self.entry(path.trim_start_matches('/'), EXECUTABLE, content);
    }

    /// A symbolic link to `target`.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parent_of(path);
        self.entry(path.trim_start_matches('/'), LINK, target.as_bytes());
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parent_of(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).expect("files of an initramfs are below 4 GiB");
        // inode, mode, uid, gid, links, mtime, size, device and special device (2 each), name size, checksum
        let (inode, size, name_size) = (self.entries, length(content.len()), length(name.len() + 1));
        self.bytes.extend_from_slice(b"070701");
        for field in [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and content of each entry, read as the kernel does.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701", "at {at}");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + index * 8..at + 14 + index * 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap() as usize
            };
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = String::from_utf8(bytes[at + 110..at + 110 + name_size - 1].to_vec()).unwrap();
            let start = (at + 110 + name_size).next_multiple_of(4);
            found.push((name, u32::try_from(mode).unwrap(), bytes[start..start + size].to_vec()));
            at = (start + size).next_multiple_of(4);
        }
        found
    }

    #[test]
    fn the_archive_holds_what_was_put_in_with_the_folders_above_it() {
        let mut archive = Archive::default();
        archive.folder("/proc");
        archive.file("/bin/one", b"12345");
        archive.file("bin/two", b"");
        archive.link("/lib/a/b.so", "b.so.1");
        let expected = [
            ("proc", FOLDER, ""),
            ("bin", FOLDER, ""),
            ("bin/one", EXECUTABLE, "12345"),
            ("bin/two", EXECUTABLE, ""),
            ("lib", FOLDER, ""),
            ("lib/a", FOLDER, ""),
            ("lib/a/b.so", LINK, "b.so.1"),
            ("TRAILER!!!", 0, ""),
        ];
        let expected = expected.map(|(name, mode, text)| (name.to_owned(), mode, text.as_bytes().to_vec()));
        assert_eq!(entries(&archive.finish()), expected);
    }
}
