//! Who asks, for people: `user@host`. Written into the log with every write; proves nothing.

/// The longest actor that a command carries.
const MAX_BYTES: usize = 128;

#[must_use]
pub fn name() -> String {
    let set = |key: &str| std::env::var(key).ok().filter(|v| !v.is_empty());
    let user = set("USER").or_else(|| set("LOGNAME")).unwrap_or_else(|| {
        let uid = rustix::process::getuid().as_raw();
        let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        login(&known, uid).unwrap_or_else(|| format!("uid{uid}"))
    });
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut name = format!("{user}@{host}");
    while name.len() > MAX_BYTES {
        name.pop();
    }
    name
}

/// The login name of a user id in a passwd file: for cron jobs and containers, where no variable says it.
fn login(passwd: &str, uid: u32) -> Option<String> {
    let of = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    };
    passwd.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_variables_is_found_by_number() {
        let passwd = "broken\nroot:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(login(passwd, 1_000).as_deref(), Some("ann"));
        assert_eq!(login(passwd, 0).as_deref(), Some("root"));
        assert_eq!(login(passwd, 10), None);
    }

    #[test]
    fn an_actor_is_user_at_host_and_bounded() {
        let name = name();
        assert!(name.contains('@') && name.len() <= MAX_BYTES, "{name}");
    }
}
