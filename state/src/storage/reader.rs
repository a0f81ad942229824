//! Reads a volume's options one by one, checks each, and knows which were not asked for. Called by the drivers' option files only. Every refusal names the
//! option and says what would do.

use std::collections::BTreeMap;

/// Which option is wrong, and what would be right.
pub type OptionError = (String, String);

/// One driver's view of the options.
pub(super) struct Reader<'o> {
    driver: &'static str,
    options: &'o BTreeMap<String, String>,
}

fn wrong(key: &str, reason: impl Into<String>) -> OptionError {
    (format!("options.{key}"), reason.into())
}

impl<'o> Reader<'o> {
    /// Refuses every option that is not in `known`; a name in it that ends in `.` stands for all that begin with it.
    pub(super) fn new(driver: &'static str, options: &'o BTreeMap<String, String>, known: &[&str]) -> Result<Self, OptionError> {
        let fits = |key: &str, name: &str| match name.ends_with('.') {
            true => key.len() > name.len() && key.starts_with(name),
            false => key == name,
        };
        match options.keys().find(|key| !known.iter().any(|name| fits(key, name))) {
            Some(other) => {
                let shown: Vec<String> =
                    known.iter().map(|k| if k.ends_with('.') { format!("{k}NAME") } else { (*k).to_owned() }).collect();
                Err(("options".to_owned(), format!("driver {driver} has no option {other:?}; it has {}", shown.join(", "))))
            }
            None => Ok(Self { driver, options }),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'o str> {
        self.options.get(key).map(String::as_str)
    }

    pub(super) fn need(&self, key: &str, like: &str) -> Result<&'o str, OptionError> {
        self.get(key).ok_or_else(|| wrong(key, format!("driver {} needs option {key}={like}", self.driver)))
    }

    /// A needed absolute path.
    pub(super) fn path(&self, key: &str, like: &str) -> Result<String, OptionError> {
        absolute(key, self.need(key, like)?)
    }

    pub(super) fn optional_path(&self, key: &str) -> Result<Option<String>, OptionError> {
        self.get(key).map(|value| absolute(key, value)).transpose()
    }

    /// A path within the storage; the same with and without a `/` in front; the default is all of it.
    pub(super) fn inner_path(&self, key: &str) -> Result<String, OptionError> {
        match self.get(key).map(|value| value.trim_matches('/')) {
            None | Some("") => Ok("/".to_owned()),
            Some(value) => absolute(key, &format!("/{value}")),
        }
    }

    /// One of `words`; the first is the default.
    pub(super) fn word(&self, key: &str, words: &[&'static str]) -> Result<&'static str, OptionError> {
        let value = self.get(key).unwrap_or(words[0]);
        let found = words.iter().find(|word| **word == value);
        found.copied().ok_or_else(|| wrong(key, format!("{value:?}: one of {}", words.join(", "))))
    }

    pub(super) fn yes(&self, key: &str, default: bool) -> Result<bool, OptionError> {
        let words = if default { ["yes", "no"] } else { ["no", "yes"] };
        Ok(self.word(key, &words)? == "yes")
    }

    /// A plain name, as volumes and users of a storage have.
    pub(super) fn name(&self, key: &str, value: &str) -> Result<String, OptionError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        // A leading dash would be an option of the program that is given the name.
        if (1..=255).contains(&value.len()) && value.chars().all(fine) && !value.starts_with('-') {
            return Ok(value.to_owned());
        }
        Err(wrong(key, format!("{value:?}: letters, digits, '.', '_' and '-', not '-' in front")))
    }

    /// A server: a host name or an IP address, in lower case.
    pub(super) fn server(&self, key: &str, value: &str) -> Result<String, OptionError> {
        server(value).ok_or_else(|| wrong(key, format!("{value:?}: a host name or an IP address")))
    }

    /// One or more servers, separated by commas; each passed through `check`.
    pub(super) fn servers(&self, key: &str, like: &str, check: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, OptionError> {
        let one = |value: &str| check(value).ok_or_else(|| wrong(key, format!("{value:?}: a list as {like}")));
        let servers: Vec<String> = self.need(key, like)?.split(',').map(one).collect::<Result<_, _>>()?;
        if servers.len() > 16 {
            return Err(wrong(key, "at most 16"));
        }
        Ok(servers)
    }

    /// Mount options: what Berth sets itself, or what would break its promise, is refused.
    pub(super) fn mount_options(&self, refused: &[&str]) -> Result<Vec<String>, OptionError> {
        const KEY: &str = "mount-options";
        let Some(value) = self.get(KEY).filter(|value| !value.is_empty()) else { return Ok(Vec::new()) };
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '=' | ':' | '/' | '+' | '@' | '%');
        let mut checked = Vec::new();
        for option in value.split(',') {
            if option.is_empty() || option.starts_with(['-', '=']) || !option.chars().all(fine) {
                return Err(wrong(KEY, format!("{option:?}: mount options separated by commas, each NAME or NAME=VALUE without spaces")));
            }
            let name = option.split('=').next().unwrap_or(option);
            if let Some(no) = ALWAYS_REFUSED.iter().chain(refused).find(|no| **no == name || **no == option) {
                return Err(wrong(KEY, format!("{no:?} is not for this list: Berth decides it, or it would break what Berth promises")));
            }
            checked.push(option.to_owned());
        }
        Ok(checked)
    }

    /// Bytes, or a number with K, M, G or T (powers of 1024).
    pub(super) fn size(&self, key: &str, least: u64) -> Result<Option<u64>, OptionError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wanted = format!("{value:?}: bytes, or a number with K, M, G or T, at least {} MiB", least >> 20);
        let size = size_bytes(value).filter(|size| *size >= least && *size % 4_096 == 0);
        size.map(Some).ok_or_else(|| wrong(key, format!("{wanted}, and a multiple of 4096")))
    }

    /// The options whose name begins with `prefix`, without it.
    pub(super) fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let passed = self.options.iter().filter_map(|(key, value)| key.strip_prefix(prefix).map(|key| (key.to_owned(), value.clone())));
        passed.collect()
    }
}

/// `mount(8)` would do something else than a mount of this volume, or Berth sets it by the container's spec.
const ALWAYS_REFUSED: [&str; 16] = [
    "bind", "rbind", "move", "remount", "shared", "rshared", "ro", "rw", "user", "users", "owner", "group", "nofail", "noauto", "_netdev",
    "helper",
];

fn absolute(key: &str, path: &str) -> Result<String, OptionError> {
    let parts_ok = path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
    // A comma would begin another mount option, a colon another part of a source.
    let clean = !path.contains([',', ':', '\\']) && !path.chars().any(char::is_control);
    if path.starts_with('/') && path.len() > 1 && parts_ok && clean && path.len() <= 4_096 {
        return Ok(path.to_owned());
    }
    Err(wrong(key, format!("{path:?}: an absolute path without '.', '..', '//', trailing '/', ',', ':' or '\\'")))
}

/// A host name or IP address, in lower case.
pub(super) fn server(value: &str) -> Option<String> {
    if let Ok(address) = value.parse::<core::net::IpAddr>() {
        return Some(address.to_string());
    }
    let fine = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    (value.len() <= 253 && value.split('.').all(fine)).then(|| value.to_ascii_lowercase())
}

fn size_bytes(value: &str) -> Option<u64> {
    let (digits, factor) = match value.strip_suffix("iB").unwrap_or(value) {
        text if text.ends_with(['K', 'k']) => (&text[..text.len() - 1], 1 << 10),
        text if text.ends_with('M') => (&text[..text.len() - 1], 1 << 20),
        text if text.ends_with('G') => (&text[..text.len() - 1], 1 << 30),
        text if text.ends_with('T') => (&text[..text.len() - 1], 1_u64 << 40),
        _ => (value, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
