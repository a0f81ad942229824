//! `VOLUME:/path[:ro|:rw]`: a volume in a container.

use berth_state::ids::VolumeId;
use berth_state::noun::container::VolumeMount;

use super::Unclear;

/// # Errors
/// [`Unclear`]. Whether the path is a good one, the control plane says.
pub fn parse(text: &str) -> Result<VolumeMount, Unclear> {
    let unclear = || Unclear::new(text, "a mount like data:/var/lib/data or data:/var/lib/data:ro");
    let mut parts = text.split(':');
    let (Some(volume), Some(path), mode, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return Err(unclear()) };
    let read_only = match mode {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(unclear()),
    };
    if !path.starts_with('/') {
        return Err(unclear());
    }
    let volume = VolumeId::new(volume).map_err(|e| Unclear::new(text, e.to_string()))?;
    Ok(VolumeMount { volume, path: path.to_owned(), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_volume_path_and_mode() {
        for (text, path, read_only) in [("v:/a", "/a", false), ("v:/a/b:ro", "/a/b", true), ("v:/a:rw", "/a", false)] {
            let want = VolumeMount { volume: VolumeId::new("v").unwrap(), path: path.to_owned(), read_only };
            assert_eq!(parse(text), Ok(want));
        }
        for bad in ["", "v", "v:", "v:a", ":/a", "V:/a", "v:/a:rx", "v:/a:ro:ro", "/host:/a"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
