//! The negative control: Postgres on two hosts over one directory, without Berth. Both must come up, else the report's bar would be no bar. Called by the run.

use crate::lab::{IMAGE_POSTGRES, Lab, default_cache_dir, postgres_image, wait_until};
use anyhow::Result;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(60);

/// Whether the second Postgres accepted connections while the first still did.
///
/// # Errors
/// The first one did not come up, or the lab failed.
pub fn postgres_starts_twice() -> Result<bool> {
    let image = postgres_image(&default_cache_dir())?;
    let lab = Lab::new("control")?;
    let hosts = lab.add_docker_hosts(&["h1", "h2"])?;
    let data = lab.shared_dir().join("pg");
    std::fs::create_dir(&data)?;
    let mount = format!("{}:/var/lib/postgresql/data", data.display());
    let ready = |host: &crate::lab::DockerHost| host.docker(&["exec", "pg", "pg_isready", "--host", "/tmp"]).is_ok();
    for host in &hosts {
        host.load_image(&image, IMAGE_POSTGRES)?;
    }
    hosts[0].docker(&["run", "--detach", "--name", "pg", "--volume", &mount, IMAGE_POSTGRES])?;
    wait_until("the first Postgres", BOUND, || Ok(ready(&hosts[0])))?;
    hosts[1].docker(&["run", "--detach", "--name", "pg", "--volume", &mount, IMAGE_POSTGRES])?;
    let second = wait_until("the second Postgres", BOUND, || Ok(ready(&hosts[1]))).is_ok();
    let both = second && ready(&hosts[0]);
    lab.teardown()?;
    Ok(both)
}
