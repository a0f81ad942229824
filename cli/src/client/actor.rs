//! Who asks, for people: `user@host`. Written into the log with every write; proves nothing.

/// The longest actor that a command carries.
const MAX_BYTES: usize = 128;

#[must_use]
pub fn name() -> String {
    let set = |key: &str| std::env::var(key).ok().filter(|v| !v.is_empty());
    let user = set("USER").or_else(|| set("LOGNAME")).unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut name = format!("{user}@{host}");
    while name.len() > MAX_BYTES {
        name.pop();
    }
    name
}
