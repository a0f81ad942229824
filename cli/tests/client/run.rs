//! Runs the real binary, with nothing of the developer's environment.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// What `-o json` printed.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    pub fn must(self, code: i32, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for text in said {
            assert!(self.stderr.contains(text), "{text:?} is not said: {self:?}");
        }
        self
    }
}

pub fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(args).env_clear().env("HOME", home).env("USER", "tester").stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub async fn end(mut command: Command) -> Ended {
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Against one endpoint.
pub async fn berth(endpoint: impl ToString, args: &[&str]) -> Ended {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path(), args);
    command.env("BERTH_ENDPOINTS", endpoint.to_string());
    end(command).await
}
