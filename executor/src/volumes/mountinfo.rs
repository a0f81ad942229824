//! What is mounted where, from /proc/self/mountinfo: the truth that survives every restart. Never counts, never stats a mount (that blocks on a dead one).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One line of mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// major and minor of its file system.
    pub device: (u32, u32),
    pub point: PathBuf,
    pub file_system: String,
    pub source: String,
    /// Its mounts and unmounts reach copies in other namespaces.
    pub shared: bool,
}

/// All mounts of this process's namespace, oldest first.
///
/// # Errors
/// The kernel's file cannot be read.
pub fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The topmost mount at exactly this path.
///
/// # Errors
/// The kernel's file cannot be read.
pub fn at(point: &Path) -> io::Result<Option<Mount>> {
    Ok(all()?.into_iter().rev().find(|mount| mount.point == point))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    // Mount options, then optional fields up to a lone dash.
    let optional: Vec<&[u8]> = fields.by_ref().skip(1).take_while(|field| *field != b"-").collect();
    let file_system = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next()?).to_string_lossy().into_owned();
    let shared = optional.iter().any(|field| field.starts_with(b"shared:"));
    Some(Mount { device: (device.0.parse().ok()?, device.1.parse().ok()?), point: point.into(), file_system, source, shared })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (first, tail.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Ids of processes in whose mount namespaces a file system is mounted: who keeps it alive. For people, in an error.
#[must_use]
pub fn holders(device: (u32, u32)) -> String {
    let wanted = format!(" {}:{} ", device.0, device.1);
    let contains = |text: &[u8]| text.windows(wanted.len()).any(|window| window == wanted.as_bytes());
    let mut found = Vec::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|p| p.file_name().as_bytes().iter().all(u8::is_ascii_digit)) {
        if fs::read(process.path().join("mountinfo")).is_ok_and(|text| contains(&text)) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} ({})", process.file_name().to_string_lossy(), name.trim()));
            if found.len() >= 8 {
                break;
            }
        }
    }
    if found.is_empty() { "nobody that can be seen".to_owned() } else { found.join(", ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_and_without_optional_fields() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
            69 44 0:42 / /run/a\\040b\\134c rw - fuse.glusterfs 10.0.0.1:/pg rw\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].device, mounts[0].shared, mounts[0].file_system.as_str()), ((98, 0), true, "ext3"));
        assert_eq!((mounts[1].point.as_path(), mounts[1].shared), (Path::new("/run/a b\\c"), false));
        assert_eq!((mounts[1].device, mounts[1].source.as_str()), ((0, 42), "10.0.0.1:/pg"));
    }

    #[test]
    fn this_process_has_a_root() {
        assert!(at(Path::new("/")).unwrap().is_some());
        assert!(at(Path::new("/nonexistent/mount")).unwrap().is_none());
    }
}
