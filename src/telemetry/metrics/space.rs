//! The cache folder: how much is in it, and what had to go.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;

/// Metrics about space. Clones count the same; the default is on no page.
#[derive(Clone, Debug, Default)]
pub struct SpaceMetrics {
    stored_bytes: Gauge,
    stored_blobs: Gauge,
    spool_bytes: Gauge,
    evicted_images: Counter,
    evicted_bytes: Counter,
    room_refused: Counter,
    changed_on_disk: Counter,
}

impl SpaceMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let space = Self::default();
        let bytes = |registry: &mut Registry, name: &str, help: &str, gauge: &Gauge| {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        };
        bytes(registry, "stored", "Content in the cache folder", &space.stored_bytes);
        bytes(registry, "spool", "Content on its way into the cache folder", &space.spool_bytes);
        registry.register("stored_blobs", "Files of content in the cache folder", space.stored_blobs.clone());
        registry.register("evicted_images", "Images that went to make room", space.evicted_images.clone());
        registry.register_with_unit(
            "evicted",
            "Content that went to make room",
            Unit::Bytes,
            space.evicted_bytes.clone(),
        );
        registry.register("room_refused", "Times that content found no room to be kept", space.room_refused.clone());
        let help = "Stored content that was found changed or unreadable, whoever found it, and taken away";
        registry.register("changed_on_disk", help, space.changed_on_disk.clone());
        space
    }

    /// So much is stored now.
    pub fn stored(&self, blobs: u64, bytes: u64) {
        self.stored_blobs.set(i64::try_from(blobs).unwrap_or(i64::MAX));
        self.stored_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many bytes more, or fewer, are on their way in.
    pub fn spooled(&self, change: i64) {
        self.spool_bytes.inc_by(change);
    }

    /// Images went, and with them, or alone, so many bytes.
    pub fn evicted(&self, images: u64, bytes: u64) {
        self.evicted_images.inc_by(images);
        self.evicted_bytes.inc_by(bytes);
    }

    /// Stored content was not what its name says, or could not be read.
    pub fn changed_on_disk(&self) {
        self.changed_on_disk.inc();
    }

    /// Content found no room.
    pub fn room_refused(&self) {
        self.room_refused.inc();
    }
}

impl Metrics {
    /// What counts space.
    pub fn space(&self) -> SpaceMetrics {
        self.space.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn space_is_shown_as_it_is_and_what_went_is_counted() {
        let metrics = Metrics::new();
        let space = metrics.space();
        space.stored(3, 1000);
        space.spooled(50);
        space.spooled(-20);
        space.evicted(2, 500);
        space.room_refused();
        space.changed_on_disk();
        assert_snapshot!(about(&metrics, &["stored", "spool", "evicted", "room", "changed"]), @r"
        # HELP assay_changed_on_disk Stored content that was found changed or unreadable, whoever found it, and taken away.
        # HELP assay_evicted_bytes Content that went to make room.
        # HELP assay_evicted_images Images that went to make room.
        # HELP assay_room_refused Times that content found no room to be kept.
        # HELP assay_spool_bytes Content on its way into the cache folder.
        # HELP assay_stored_blobs Files of content in the cache folder.
        # HELP assay_stored_bytes Content in the cache folder.
        assay_changed_on_disk_total 1
        assay_evicted_bytes_total 500
        assay_evicted_images_total 2
        assay_room_refused_total 1
        assay_spool_bytes 30
        assay_stored_blobs 3
        assay_stored_bytes 1000
        ");
    }
}
