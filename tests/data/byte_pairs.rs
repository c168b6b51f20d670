//! Byte pairs (feature `tokenizers`).

use super::{Folder, message};
use warpsmith::data::BytePairs;

#[test]
fn byte_pairs_give_back_any_text_and_are_learnt_alike_each_time() {
    let texts = ["the lower the lowest", "the newer the newest", "the wider the widest"];
    let learn = || BytePairs::train(texts, 256 + 12, &["<pad>", "<mask>"]).unwrap();
    let pairs = learn();
    assert_eq!(pairs.len(), 268);
    assert_eq!((pairs.token("<pad>"), pairs.token("<mask>"), pairs.token("zzz")), (Some(0), Some(1), None));
    for text in ["the lowest", "  two  spaces\n", "naïve 🦀 — Ω", ""] {
        let tokens = pairs.encode(text).unwrap();
        assert_eq!(tokens, learn().encode(text).unwrap());
        assert_eq!(pairs.decode(&tokens).unwrap(), text);
    }
    // "the" is the most frequent word: one token.
    assert_eq!(pairs.encode("the").unwrap().len(), 1);
    assert_eq!(pairs.encode("<mask>the").unwrap()[0], 1);
    assert_eq!(pairs.decode(&pairs.encode("<mask>the").unwrap()).unwrap(), "the");
    for bad in [-1, 268, i64::MAX] {
        assert!(message(pairs.decode(&[bad])).contains("no token"));
    }
    let folder = Folder::new();
    let path = folder.path().join("tokenizer.json");
    pairs.save(&path).unwrap();
    assert_eq!(
        BytePairs::load(&path).unwrap().encode("widest <mask>").unwrap(),
        pairs.encode("widest <mask>").unwrap()
    );
    assert!(message(BytePairs::load(folder.file("bad.json", "{"))).contains("bad.json"));
}
