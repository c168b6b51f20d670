//! Characters, words, byte pairs, windows.

use super::message;
use warpsmith::data::{Characters, DataLoader, Dataset, Windows, Words, WordsConfig};

#[test]
fn characters_are_numbered_in_order() {
    let characters = Characters::of("banänä\n");
    assert_eq!(characters.len(), 5);
    assert_eq!(characters.encode("\nabnä").unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(characters.decode(&[2, 1, 3, 4, -1, 5]), "banä");
    assert!(message(characters.encode("bax")).contains("'x' is not among the 5"));
    assert!(Characters::of("").is_empty());
}

#[test]
fn words_are_numbered_by_how_often_they_are_seen() {
    let texts = ["It's a dog; a DOG!", "A cat isn't it's cat  'quoted' 3.5"];
    let words = Words::of(texts, &WordsConfig::default());
    // a 3; cat, dog and it's 2; the rest once, in order.
    let list = ["a", "'", "cat", "dog", "it's", "!", ".", "3", "5", ";", "isn't", "quoted"];
    assert_eq!(words.list(), list);
    assert_eq!(words.len(), 14);
    assert_eq!(words.encode("Dog? a\tcat's"), [5, 1, 2, 1]);
    assert_eq!(words.decode(&[0, 2, 4, 1, 99, -7, 0]), "a cat ? ? ?");
    assert_eq!(Words::from_list(words.list().to_vec(), &WordsConfig::default()), words);

    let few = Words::of(texts, &WordsConfig { min_count: 2, max_words: Some(3), marks: false, lowercase: false });
    // Without small letters: a 2 (A once), cat 2; It's and it's once each.
    assert_eq!(few.list(), ["a", "cat"]);
    assert_eq!(few.encode("a; cat A"), [2, 3, 1]);
    let two = Words::of(["z z y y y x"], &WordsConfig { max_words: Some(2), ..Default::default() });
    assert_eq!(two.list(), ["y", "z"]);
    assert!(Words::of([""], &WordsConfig::default()).encode(" \n").is_empty());
}

#[test]
fn windows_and_what_follows_them() {
    let tokens: Vec<i64> = (100..110).collect();
    let all = Windows::new(tokens.clone(), 4, 1).unwrap();
    assert_eq!(all.len(), 6);
    let batch = DataLoader::new(all, 6).epoch(0).next().unwrap().unwrap();
    for (place, (inputs, targets)) in
        batch[0].to_vec2::<i64>().unwrap().iter().zip(batch[1].to_vec2::<i64>().unwrap()).enumerate()
    {
        assert_eq!(inputs[..], tokens[place..place + 4]);
        assert_eq!(targets[..], tokens[place + 1..place + 5]);
    }
    // 0..4, 4..8; a third would end after token 9, which has none after it.
    assert_eq!(Windows::new(tokens.clone(), 4, 4).unwrap().len(), 2);
    assert_eq!(Windows::new(tokens.clone(), 3, 3).unwrap().len(), 3);
    assert_eq!(Windows::new(tokens.clone(), 9, 5).unwrap().len(), 1);
    let mut rng = warpsmith::random::Philox::new(0);
    let sample = Windows::new(tokens.clone(), 3, 3).unwrap().get(2, &mut rng).unwrap();
    assert_eq!(sample[1].to_vec::<i64>().unwrap(), [107, 108, 109]);
    for (context, stride) in [(10, 1), (0, 1), (4, 0)] {
        assert!(message(Windows::new(tokens.clone(), context, stride)).contains("10 tokens"));
    }
    assert!(Windows::new(tokens, 4, 1).unwrap().get(6, &mut rng).is_err());
}
