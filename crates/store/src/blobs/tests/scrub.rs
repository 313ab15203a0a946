use super::*;
use crate::blobs::{Scrub, ScrubPosition};

#[tokio::test]
async fn a_pass_goes_on_where_another_was_and_leaves_what_came_later_to_the_next() {
    let store = open(&memory().1);
    for number in 0..3 {
        put(&store.blobs, &blob(number, 1 << 20)).await.unwrap();
    }
    let count = |scrub: Scrub| scrub.map(|read| u64::from(read.unwrap().bytes > 0)).sum::<u64>();
    let mut scrub = Scrub::new(store.blobs.clone());
    assert!(scrub.next().unwrap().unwrap().bytes > 0);
    let (newest, at) = scrub.place();
    put(&store.blobs, &blob(3, 1 << 20)).await.unwrap();
    let position = ScrubPosition { newest, at, ..ScrubPosition::default() };
    store.blobs.keep_scrub_position(&position);
    assert_eq!(store.blobs.scrub_position(), Some(position));
    assert_eq!(count(Scrub::resume(store.blobs.clone(), &position)), 2);
    let ended = ScrubPosition { at: 0, ..position };
    assert_eq!(count(Scrub::resume(store.blobs.clone(), &ended)), 4);
}
