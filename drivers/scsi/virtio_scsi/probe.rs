// SPDX-License-Identifier: GPL-2.0

//! Probe: from a virtio device to a SCSI host.

use crate::{
    commands::RequestQueue,
    events::{
        self,
        EventQueue, //
    },
    hba::Hba,
    host::BoundHost,
    limits::{
        Config,
        Queues, //
    },
    params,
    query::Query,
    recovery::Recovery,
    tmf::{
        self,
        ControlQueue, //
    },
    wire::Order,
    ScsiHost, //
};
use kernel::{
    device::Bound,
    prelude::*,
    str::CString,
    sync::Arc, //
};
use storage::{
    bindings, config_field,
    cpu_map::num_possible_queues,
    scsi::{
        Host,
        Limits,
        NewHost, //
    },
    virtio::{
        queue::Queue,
        queues::Builder,
        Device, //
    },
};

/// The control queue and the event queue come first.
pub(crate) const FIRST_REQUEST_QUEUE: u32 = 2;

/// Makes the host of a device and shows it to the system.
pub(crate) fn probe<'a>(dev: &'a Device<Bound>) -> impl PinInit<BoundHost, Error> + 'a {
    pin_init::pin_init_scope(move || {
        let (host, hba) = make(dev)?;
        Ok(BoundHost::new(host, hba))
    })
}

fn make(dev: &Device<Bound>) -> Result<(Host<ScsiHost>, Arc<Hba>)> {
    if !dev.has_config() {
        dev_err!(dev, "the transport gives no access to the configuration\n");
        return Err(EINVAL);
    }

    let queues = count_queues(dev)?;
    let hba = find_vqs(dev, queues)?;
    hba.recovery.configure(dev)?;
    let limits = read_limits(dev, &hba)?;

    let host = NewHost::new(&limits, hba.clone())?.add_host(dev.as_ref())?;
    // The events' buffers go to the device when it is ready.
    hba.events.handler().set_host(host.host_ref().clone());
    dev.ready();
    events::refill(&hba.events);
    host.in_background(|host| host.scan())?;
    Ok((host, hba))
}

/// How many request queues to use.
fn count_queues(dev: &Device<Bound>) -> Result<Queues> {
    let offered: u32 = dev.read_config(config_field!(virtio_scsi_config, num_queues))?;
    let queues = Queues::new(
        num_possible_queues(offered.max(1)),
        params::POLL_QUEUES.get(),
    );

    dev_info!(
        dev,
        "{}/0/{} default/read/poll queues\n",
        queues.interrupting,
        queues.polled
    );
    Ok(queues)
}

/// Makes the queues and finds their virtqueues.
fn find_vqs(dev: &Device<Bound>, queues: Queues) -> Result<Arc<Hba>> {
    let order = Order {
        little_endian: dev.is_little_endian(),
    };
    let protection = dev.has_feature(bindings::VIRTIO_SCSI_F_T10_PI);
    let events = Arc::pin_init(
        Queue::new(
            Ok(EventQueue::new(dev.into(), order)),
            events::Buffers::new()?,
        ),
        GFP_KERNEL,
    )?;
    let recovery = Recovery::new(dev, events.clone())?;
    let handler = ControlQueue {
        order,
        recovery: recovery.clone(),
    };
    let control = Arc::pin_init(Queue::new(Ok(handler), tmf::Idle::new()?), GFP_KERNEL)?;
    let mut requests = KVec::new();
    for _ in 0..queues.all() {
        let handler = RequestQueue::new(dev.into(), order, protection, recovery.clone());
        let queue = Arc::pin_init(Queue::new(Ok(handler), ()), GFP_KERNEL)?;

        requests.push(queue, GFP_KERNEL)?;
    }
    let requests = Arc::new(requests, GFP_KERNEL)?;
    let mut wanted = Builder::new();

    wanted.leave_first(FIRST_REQUEST_QUEUE);
    wanted.add(CString::try_from_fmt(fmt!("control"))?, control.clone())?;
    wanted.add(CString::try_from_fmt(fmt!("event"))?, events.clone())?;
    for (i, queue) in (0..).zip(requests.iter()) {
        if i < queues.interrupting {
            wanted.add(CString::try_from_fmt(fmt!("request"))?, queue.clone())?;
        } else {
            wanted.add_polled(CString::try_from_fmt(fmt!("request_poll"))?, queue.clone())?;
        }
    }
    dev.find_vqs(wanted)?;
    let map = dev.interrupt_map(FIRST_REQUEST_QUEUE, queues.interrupting)?;
    let query = Query::new(control.clone(), requests.clone(), recovery.clone())?;
    Arc::pin_init(
        Hba::new(recovery, control, events, requests, query, queues, map),
        GFP_KERNEL,
    )
}

/// Reads what the device says about itself, and checks it.
fn read_limits(dev: &Device<Bound>, hba: &Hba) -> Result<Limits> {
    let config = Config {
        seg_max: dev.read_config(config_field!(virtio_scsi_config, seg_max))?,
        max_sectors: dev.read_config(config_field!(virtio_scsi_config, max_sectors))?,
        cmd_per_lun: dev.read_config(config_field!(virtio_scsi_config, cmd_per_lun))?,
        max_target: dev.read_config(config_field!(virtio_scsi_config, max_target))?,
        max_lun: dev.read_config(config_field!(virtio_scsi_config, max_lun))?,
        queues: hba.queues,
        ring_size: hba
            .requests
            .iter()
            .map(|queue| queue.lock().ring.vring_size())
            .min()
            .unwrap_or(0),
        protection: dev.has_feature(bindings::VIRTIO_SCSI_F_T10_PI),
    };

    config.limits().map_err(|refusal| {
        dev_err!(dev, "{}\n", refusal);
        EINVAL
    })
}
