//! The machine and the process, and their load.

use keyway_core::Host;
use keyway_loader::probe::own_program;
use serde_json::{Map, Value, json};
use sysinfo::{Disk, Disks, System};
use tokio::sync::Semaphore;

use crate::{answer::Answer, error::ApiError, route::RequestContext};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version that serves, since it was installed. Keyway keeps no record of earlier versions.
pub(crate) async fn versions(_at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let installed = own_program().and_then(|program| std::fs::metadata(program)?.modified());
    let installed = installed.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    let told = json!({
        "commit_date": "",
        "previous_version": null,
        "timestamp_installed": installed.map(|time| time.to_string()),
    });
    Ok(Answer::system(json!({ "keys": [VERSION], "key_info": { VERSION: told } })))
}

/// The machine that the server runs on.
pub(crate) async fn info(_at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    /// A disk may hang that is asked how full it is; it takes one thread, and not one for each request.
    static TURN: Semaphore = Semaphore::const_new(1);
    let turn = TURN.try_acquire().map_err(|_| ApiError::overloaded("the host is being looked at already"))?;
    let gathered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        gather()
    });
    match gathered.await {
        Ok(Ok(told)) => Ok(Answer::system(told)),
        Ok(Err(error)) => Err(ApiError::unavailable(format!("look at the host: {error}"))),
        Err(_) => Err(ApiError::unavailable("the server is stopping")),
    }
}

fn gather() -> Result<Value, sysinfo::Error> {
    let mut system = System::new()?;
    system.refresh_memory();
    system.refresh_cpu_all();
    let cpus = system.cpus().iter().enumerate().map(|(number, cpu)| {
        json!({
            "cpu": number,
            "vendorId": cpu.vendor_id(),
            "modelName": cpu.brand(),
            "mhz": cpu.frequency(),
            "cores": 1,
        })
    });
    let disks = Disks::new_with_refreshed_list()?;
    let disks = disks.iter().map(told_disk);
    Ok(json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "cpu": cpus.collect::<Vec<_>>(),
        "disk": disks.collect::<Vec<_>>(),
        "host": {
            "hostname": host_name(),
            "uptime": System::uptime().ok(),
            "bootTime": System::boot_time().ok(),
            "os": std::env::consts::OS,
            "platform": System::distribution_id(),
            "platformVersion": System::os_version().unwrap_or_default(),
            "kernelVersion": System::kernel_version().unwrap_or_default(),
            "kernelArch": System::cpu_arch(),
        },
        "memory": {
            "total": system.total_memory(),
            "available": system.available_memory(),
            "used": system.used_memory(),
            "usedPercent": percent(system.used_memory(), system.total_memory()),
            "free": system.free_memory(),
            "swaptotal": system.total_swap(),
            "swapfree": system.free_swap(),
        },
    }))
}

/// Sizes in bytes. Blocks that are reserved for the superuser count neither as used nor as free, as in `df`.
fn told_disk(disk: &Disk) -> Value {
    let mut told = json!({
        "path": disk.mount_point().display().to_string(),
        "fstype": disk.file_system().display().to_string(),
        "total": disk.total_space(),
        "free": disk.available_space(),
    });
    #[cfg(unix)]
    if let (Some(told), Ok(system)) = (told.as_object_mut(), rustix::fs::statvfs(disk.mount_point())) {
        let used = system.f_blocks.saturating_sub(system.f_bfree).saturating_mul(system.f_frsize);
        let inodes_used = system.f_files.saturating_sub(system.f_ffree);
        told.extend([
            ("used".to_owned(), json!(used)),
            ("usedPercent".to_owned(), json!(percent(used, used.saturating_add(disk.available_space())))),
            ("inodesTotal".to_owned(), json!(system.f_files)),
            ("inodesFree".to_owned(), json!(system.f_ffree)),
            ("inodesUsed".to_owned(), json!(inodes_used)),
            ("inodesUsedPercent".to_owned(), json!(percent(inodes_used, system.f_files))),
        ]);
    }
    told
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn host_name() -> String {
    System::host_name().unwrap_or_default()
}

/// The hosts that serve from this store. Each serves everything, so that all are active.
pub(crate) async fn hosts(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let hosts = context.call.core.host_sync().hosts(&context.call.work).await?;
    let node = |host: Host| {
        json!({
            "hostname": host.hostname,
            // Nothing tells a server by which address its clients reach it.
            "api_address": "",
            "cluster_address": "",
            "active_node": true,
            "last_echo": Some(host.last_echo).filter(|echo| !echo.is_empty()),
            "version": host.version,
        })
    };
    let nodes: Vec<Value> = hosts.into_iter().map(node).collect();
    Ok(Answer::flat(json!({ "nodes": nodes })))
}

/// The requests that are being served, this one among them.
pub(crate) async fn requests(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let requests = context.call.edge.in_flight.all();
    let told: Map<String, Value> = requests
        .into_iter()
        .map(|(id, request)| {
            let told = json!({
                "start_time": request.since.to_string(),
                "client_remote_address": request.peer.map(|peer| peer.to_string()).unwrap_or_default(),
                "request_path": format!("/v1/{}", request.path),
                "request_method": request.method,
                "client_id": "",
            });
            (id.to_string(), told)
        })
        .collect();
    Ok(Answer::plain(told))
}
