//! The deadline page: until when one lease may be acted on, for processes that outlive the executor. Written by the executor alone, mapped read-only by
//! guards. It is created whole and then changed in place, eight bytes at once; never renamed, because a mapping would stay with the old file.
//!
//! Little endian: 0 [`MAGIC`]; 8 token; 16 deadline, ns of the holder's clock; 24 inode of the host's time namespace; 32 boot id as the host sees it, 16 bytes;
//! 48 boot id as the kernel says it, 16 bytes; then zeros. The two differ where a container manager gives its machines boot ids of their own: an instance with
//! a /proc of its own sees the kernel's.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::clock::{self, ClockError};
use crate::map::{Access, Mapping, SIZE};

pub const MAGIC: [u8; 8] = *b"BERTHDL1";

const MAGIC_AT: usize = 0;
const TOKEN_AT: usize = 8;
const DEADLINE_AT: usize = 16;
const NAMESPACE_AT: usize = 24;
const BOOT_AT: usize = 32;
const KERNEL_BOOT_AT: usize = 48;

/// What a page says of the right to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// Taken back: stop now.
    Over,
    /// Until then, in nanoseconds of the holder's clock.
    At(u64),
    /// The lease need not stop on silence (all its volumes are fenced at the storage). It can still be taken back.
    None,
}

impl Deadline {
    /// 0 and `u64::MAX` are not times: an [`At`](Self::At) with such a number is moved to its neighbour, which means the same to any clock.
    #[must_use]
    pub fn to_word(self) -> u64 {
        match self {
            Self::Over => 0,
            Self::At(ns) => ns.clamp(1, u64::MAX - 1),
            Self::None => u64::MAX,
        }
    }

    #[must_use]
    pub fn from_word(word: u64) -> Self {
        match word {
            0 => Self::Over,
            u64::MAX => Self::None,
            ns => Self::At(ns),
        }
    }

    /// Nanoseconds left at `now`; `None` when it is over. A page without a deadline has `u64::MAX` left.
    #[must_use]
    pub fn left_ns(self, now_ns: u64) -> Option<u64> {
        match self {
            Self::Over => None,
            Self::At(ns) => ns.checked_sub(now_ns).filter(|left| *left > 0),
            Self::None => Some(u64::MAX),
        }
    }
}

/// Whose page it is: what never changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub token: u64,
    /// As the host sees it.
    pub boot_id: [u8; 16],
    /// As an instance with a /proc of its own sees it.
    pub kernel_boot_id: [u8; 16],
    /// Inode of the host's time namespace.
    pub time_namespace: u64,
}

impl Owner {
    /// `token` on this machine, in this boot.
    ///
    /// # Errors
    /// When the machine does not say which boot or time namespace this is.
    pub fn here(token: u64) -> Result<Self, ClockError> {
        let boot_id = clock::boot_id()?;
        Ok(Self { token, boot_id, kernel_boot_id: clock::kernel_boot_id().unwrap_or(boot_id), time_namespace: clock::time_namespace()? })
    }
}

/// Why a page cannot be trusted or made.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("deadline page {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is no deadline page")]
    NoPage { path: PathBuf },
    #[error("deadline page {path} is of token {found}, not {expected}")]
    Token { path: PathBuf, expected: u64, found: u64 },
    #[error("deadline page {path} is of another boot of this machine")]
    Boot { path: PathBuf },
    #[error("deadline page {path}: the clock here is not the one it counts by")]
    Clock {
        path: PathBuf,
        #[source]
        source: ClockError,
    },
}

impl PageError {
    /// Whether there is no file at all.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The executor's side.
#[derive(Debug)]
pub struct PageWriter {
    map: Mapping,
}

impl PageWriter {
    /// Makes the page, complete before it has its name. Fails when one is there: a second page for a token would have no reader.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create(path: &Path, owner: &Owner, deadline: Deadline) -> Result<Self, PageError> {
        let failed = |source| PageError::Io { path: path.to_owned(), source };
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&new).map_err(failed)?;
        file.write_all(&encode(owner, deadline)).map_err(failed)?;
        // Whatever the umask: the guard in the instance may be any user, and none of them may write.
        file.set_permissions(Permissions::from_mode(0o444)).map_err(failed)?;
        let map = Mapping::new(&file, Access::ReadWrite).map_err(failed)?;
        // A link, not a rename: that one fails if there is a page already.
        fs::hard_link(&new, path).map_err(failed)?;
        fs::remove_file(&new).map_err(failed)?;
        Ok(Self { map })
    }

    /// Takes over the page of an earlier executor; its deadline goes on as it is.
    ///
    /// # Errors
    /// [`PageError`]: also when the page is not `owner`'s.
    pub fn open(path: &Path, owner: &Owner) -> Result<Self, PageError> {
        let failed = |source| PageError::Io { path: path.to_owned(), source };
        let file = open_for_writing(path).map_err(failed)?;
        let map = map(path, &file, Access::ReadWrite)?;
        check(path, &map, owner)?;
        Ok(Self { map })
    }

    /// One store: a guard sees the old deadline or the new one, nothing else.
    pub fn store(&self, deadline: Deadline) {
        self.map.store(DEADLINE_AT, deadline.to_word());
    }

    #[must_use]
    pub fn load(&self) -> Deadline {
        Deadline::from_word(self.map.load(DEADLINE_AT))
    }
}

/// The guard's side. Keeps what it has mapped, also when the file is removed.
#[derive(Debug)]
pub struct PageReader {
    map: Mapping,
}

impl PageReader {
    /// # Errors
    /// [`PageError`]: the page is missing, short, of another token, boot or clock. Nothing may be started then.
    pub fn open(path: &Path, token: u64) -> Result<Self, PageError> {
        let file = File::open(path).map_err(|source| PageError::Io { path: path.to_owned(), source })?;
        let map = map(path, &file, Access::Read)?;
        let wrong_clock = |source| PageError::Clock { path: path.to_owned(), source };
        check_kind(path, &map, token)?;
        let boot_id = clock::boot_id().map_err(wrong_clock)?;
        if !holds(&map, BOOT_AT, boot_id) && !holds(&map, KERNEL_BOOT_AT, boot_id) {
            return Err(PageError::Boot { path: path.to_owned() });
        }
        clock::require_namespace(map.load(NAMESPACE_AT)).map_err(wrong_clock)?;
        Ok(Self { map })
    }

    #[must_use]
    pub fn deadline(&self) -> Deadline {
        Deadline::from_word(self.map.load(DEADLINE_AT))
    }
}

fn encode(owner: &Owner, deadline: Deadline) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[MAGIC_AT..TOKEN_AT].copy_from_slice(&MAGIC);
    bytes[TOKEN_AT..DEADLINE_AT].copy_from_slice(&owner.token.to_le_bytes());
    bytes[DEADLINE_AT..NAMESPACE_AT].copy_from_slice(&deadline.to_word().to_le_bytes());
    bytes[NAMESPACE_AT..BOOT_AT].copy_from_slice(&owner.time_namespace.to_le_bytes());
    bytes[BOOT_AT..KERNEL_BOOT_AT].copy_from_slice(&owner.boot_id);
    bytes[KERNEL_BOOT_AT..KERNEL_BOOT_AT + 16].copy_from_slice(&owner.kernel_boot_id);
    bytes
}

fn map(path: &Path, file: &File, access: Access) -> Result<Mapping, PageError> {
    Mapping::new(file, access).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::InvalidData { PageError::NoPage { path } } else { PageError::Io { path, source } }
    })
}

fn check(path: &Path, map: &Mapping, owner: &Owner) -> Result<(), PageError> {
    check_kind(path, map, owner.token)?;
    if !holds(map, BOOT_AT, owner.boot_id) {
        return Err(PageError::Boot { path: path.to_owned() });
    }
    let counted_by = map.load(NAMESPACE_AT);
    if counted_by != owner.time_namespace {
        let source = ClockError::Foreign { own: owner.time_namespace, host: counted_by };
        return Err(PageError::Clock { path: path.to_owned(), source });
    }
    Ok(())
}

fn check_kind(path: &Path, map: &Mapping, expected: u64) -> Result<(), PageError> {
    if map.load(MAGIC_AT) != u64::from_le_bytes(MAGIC) {
        return Err(PageError::NoPage { path: path.to_owned() });
    }
    let found = map.load(TOKEN_AT);
    if found == expected { Ok(()) } else { Err(PageError::Token { path: path.to_owned(), expected, found }) }
}

fn holds(map: &Mapping, at: usize, id: [u8; 16]) -> bool {
    let (first, second) = id.split_at(8);
    map.load(at).to_le_bytes() == *first && map.load(at + 8).to_le_bytes() == *second
}

/// An ordinary user may not write even his own file of mode 0444, but may change the mode for the moment of opening it.
fn open_for_writing(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(path, Permissions::from_mode(0o644))?;
            let file = open();
            fs::set_permissions(path, Permissions::from_mode(0o444))?;
            file
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(token: u64) -> Owner {
        Owner::here(token).unwrap()
    }

    fn made(deadline: Deadline) -> (tempfile::TempDir, PathBuf, PageWriter) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        let writer = PageWriter::create(&path, &owner(7), deadline).unwrap();
        (folder, path, writer)
    }

    #[test]
    fn golden_bytes() {
        let owner = Owner { token: 0x0102, boot_id: *b"0123456789abcdef", kernel_boot_id: *b"fedcba9876543210", time_namespace: 0x0a0b };
        let bytes = encode(&owner, Deadline::At(0x0304));
        let mut golden = [0; SIZE];
        golden[..48].copy_from_slice(b"BERTHDL1\x02\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0\x0b\x0a\0\0\0\0\0\x000123456789abcdef");
        golden[48..64].copy_from_slice(b"fedcba9876543210");
        assert_eq!(bytes, golden);
    }

    #[test]
    fn a_reader_sees_each_store_of_the_writer_and_of_its_successor() {
        let (_folder, path, writer) = made(Deadline::At(5));
        let reader = PageReader::open(&path, 7).unwrap();
        assert_eq!(reader.deadline(), Deadline::At(5));
        writer.store(Deadline::At(9));
        assert_eq!(reader.deadline(), Deadline::At(9));
        drop(writer);
        let successor = PageWriter::open(&path, &owner(7)).unwrap();
        assert_eq!(successor.load(), Deadline::At(9));
        successor.store(Deadline::Over);
        assert_eq!(reader.deadline(), Deadline::Over);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o444);
    }

    #[test]
    fn a_removed_file_keeps_its_readers() {
        let (_folder, path, writer) = made(Deadline::At(5));
        let reader = PageReader::open(&path, 7).unwrap();
        fs::remove_file(&path).unwrap();
        writer.store(Deadline::Over);
        assert_eq!(reader.deadline(), Deadline::Over);
    }

    #[test]
    fn a_page_is_never_made_twice() {
        let (_folder, path, _writer) = made(Deadline::At(5));
        let again = PageWriter::create(&path, &owner(7), Deadline::None);
        assert!(matches!(again, Err(PageError::Io { .. })), "{again:?}");
        assert_eq!(PageReader::open(&path, 7).unwrap().deadline(), Deadline::At(5));
    }

    #[test]
    fn a_page_of_another_token_boot_clock_or_kind_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page");
        let here = owner(7);
        let put = |bytes: &[u8]| {
            fs::remove_file(&path).ok();
            fs::write(&path, bytes).unwrap();
        };
        put(&encode(&here, Deadline::None));
        PageReader::open(&path, 7).unwrap();
        assert!(matches!(PageReader::open(&path, 8), Err(PageError::Token { expected: 8, found: 7, .. })));

        put(&encode(&Owner { boot_id: [9; 16], ..here }, Deadline::None));
        PageReader::open(&path, 7).unwrap();
        assert!(matches!(PageWriter::open(&path, &here), Err(PageError::Boot { .. })));
        put(&encode(&Owner { kernel_boot_id: [9; 16], ..here }, Deadline::None));
        PageReader::open(&path, 7).unwrap();
        put(&encode(&Owner { boot_id: [9; 16], kernel_boot_id: [9; 16], ..here }, Deadline::None));
        assert!(matches!(PageReader::open(&path, 7), Err(PageError::Boot { .. })));
        put(&encode(&Owner { time_namespace: here.time_namespace + 1, ..here }, Deadline::None));
        assert!(matches!(PageReader::open(&path, 7), Err(PageError::Clock { .. })));
        assert!(matches!(PageWriter::open(&path, &here), Err(PageError::Clock { .. })));

        let whole = encode(&here, Deadline::None);
        put(&whole[..SIZE - 1]);
        assert!(matches!(PageReader::open(&path, 7), Err(PageError::NoPage { .. })), "a short file");
        put(&[0; SIZE]);
        assert!(matches!(PageReader::open(&path, 7), Err(PageError::NoPage { .. })), "no magic");
        fs::remove_file(&path).unwrap();
        assert!(PageReader::open(&path, 7).unwrap_err().is_missing());
    }

    #[test]
    fn a_deadline_leaves_nothing_at_its_very_nanosecond() {
        assert_eq!(Deadline::At(10).left_ns(9), Some(1));
        assert_eq!(Deadline::At(10).left_ns(10), None);
        assert_eq!(Deadline::Over.left_ns(0), None);
        assert_eq!(Deadline::None.left_ns(u64::MAX), Some(u64::MAX));
        assert_eq!(Deadline::from_word(Deadline::At(u64::MAX).to_word()), Deadline::At(u64::MAX - 1), "a far time is not no deadline");
        assert_eq!(Deadline::from_word(Deadline::At(0).to_word()), Deadline::At(1));
    }
}
