//! Pictures in folders, one folder for each class.

use super::dataset::{Dataset, check_index};
use crate::random::Philox;
use crate::{Device, Error, Result, Tensor};
use image::imageops::FilterType;
use std::path::{Path, PathBuf};

/// The PNG and JPEG files of a folder's subfolders: a sample is a picture (channels, height, width) of f32 from 0 to 1,
/// and the number of its subfolder in alphabetical order.
///
/// ```no_run
/// use warpsmith::data::{DataLoader, ImageFolder};
/// // animals/cat/1.png, animals/cat/2.jpg, animals/dog/1.png …
/// let animals = ImageFolder::open("animals")?.size([64, 64]);
/// println!("{:?}", animals.classes());
/// for batch in DataLoader::new(animals, 32).shuffle(1).workers(2).epoch(0) {
///     println!("{:?}", batch?[0].dims());
/// }
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    files: Vec<(PathBuf, usize)>,
    grey: bool,
    size: Option<[usize; 2]>,
}

impl ImageFolder {
    /// The pictures under a folder, in alphabetical order; other files are passed over. None at all is an error.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let folders: Vec<PathBuf> = entries(path)?.into_iter().filter(|entry| entry.is_dir()).collect();
        let (mut classes, mut files) = (Vec::new(), Vec::new());
        for folder in folders {
            let pictures = entries(&folder)?.into_iter().filter(|file| {
                let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
                ending.is_some_and(|ending| ["png", "jpg", "jpeg"].contains(&ending.as_str())) && file.is_file()
            });
            files.extend(pictures.map(|file| (file, classes.len())));
            classes.push(folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
        }
        if files.is_empty() {
            let message = "there is no PNG or JPEG file in its subfolders; each is to hold one class";
            return Err(Error::Format { what: path.display().to_string(), message: message.into() });
        }
        Ok(ImageFolder { classes, files, grey: false, size: None })
    }

    /// One channel of brightness in place of red, green and blue.
    pub fn grey(mut self) -> Self {
        self.grey = true;
        self
    }

    /// Brings every picture to this height and width, whatever its own proportions; without it, pictures stay as they
    /// are, and batches need equal ones.
    pub fn size(mut self, size: [usize; 2]) -> Self {
        self.size = Some(size);
        self
    }

    /// The classes' names, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of every sample.
    pub fn labels(&self) -> Vec<i64> {
        self.files.iter().map(|(_, class)| *class as i64).collect()
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
        check_index(index, self.files.len())?;
        let (path, class) = &self.files[index];
        let bad = |message: String| Error::Format { what: path.display().to_string(), message };
        let mut picture = image::open(path).map_err(|e| bad(e.to_string()))?;
        if let Some([height, width]) = self.size {
            picture = picture.resize_exact(width as u32, height as u32, FilterType::Triangle);
        }
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let (channels, bytes) = match self.grey {
            true => (1, picture.into_luma8().into_raw()),
            false => (3, picture.into_rgb8().into_raw()),
        };
        let planes = (0..channels).flat_map(|channel| bytes.iter().skip(channel).step_by(channels));
        let values: Vec<f32> = planes.map(|&byte| f32::from(byte) / 255.0).collect();
        let picture = Tensor::from_slice(&values, [channels, height, width], &Device::Cpu)?;
        Ok(vec![picture, Tensor::scalar(*class as i64, &Device::Cpu)?])
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::Io { action: "reading", path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(io)?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(io)).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
