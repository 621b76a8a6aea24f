//! What was not sealed cannot be published.
use assay::store::{DiskStore, Spool};

async fn publish(store: &DiskStore, spool: Spool) {
    store.commit(spool).await.unwrap();
}

fn main() {
    let _ = publish;
}
