//! What a block keeps beside its memory: mbarriers and operations in flight.

use super::cluster::Cluster;
use super::exec::Worker;
use super::fault::Fault;
use super::launch::Launch;

/// Objects of a block.
#[derive(Default)]
pub struct Objects {}

/// Lets asynchronous operations of the cluster complete; `stuck` when no warp can go on without them.
pub(super) fn advance(
    _launch: &Launch<'_>,
    _cluster: &mut Cluster,
    _worker: &mut Worker,
    _stuck: bool,
) -> Result<bool, Box<Fault>> {
    Ok(false)
}

/// Checks a finished cluster.
pub(super) fn at_exit(_launch: &Launch<'_>, _cluster: &mut Cluster) -> Option<Box<Fault>> {
    None
}
