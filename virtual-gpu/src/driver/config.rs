//! What the environment and `virtual_gpu::Options` decide: devices, driver version, checks, schedule, profile, faults.

use super::inject::Injection;
use super::table::lock;
use crate::machine::{Checks, Schedule};
use crate::model::DeviceModel;
use std::sync::Mutex;

/// Everything that can be set from outside.
#[derive(Clone)]
pub struct Config {
    /// The devices, by ordinal. Fixed once `cuInit` has run.
    pub devices: Vec<&'static DeviceModel>,
    /// As `cuDriverGetVersion` gives it. Fixed once `cuInit` has run.
    pub driver_version: i32,
    pub checks: Checks,
    /// Report allocations that are still there at exit.
    pub leaks: bool,
    pub schedule: Schedule,
    /// Where the profile goes at exit.
    pub profile: Option<String>,
    /// Explain refused calls on standard error.
    pub log: bool,
}

static CONFIG: Mutex<Option<Config>> = Mutex::new(None);

/// The configuration of this moment.
pub fn get() -> Config {
    lock(&CONFIG).get_or_insert_with(Config::from_environment).clone()
}

/// One value of the configuration of this moment.
pub fn read<T>(pick: impl FnOnce(&Config) -> T) -> T {
    pick(lock(&CONFIG).get_or_insert_with(Config::from_environment))
}

/// Changes the configuration.
pub fn update(change: impl FnOnce(&mut Config)) {
    change(lock(&CONFIG).get_or_insert_with(Config::from_environment));
}

/// The newest PTX that a driver of this version takes, by the release notes of the PTX ISA.
pub fn newest_ptx(driver_version: i32) -> (u32, u32) {
    match driver_version {
        ..12_010 => (8, 0),
        12_010..12_020 => (8, 1),
        12_020..12_030 => (8, 2),
        12_030..12_040 => (8, 3),
        12_040..12_050 => (8, 4),
        12_050..12_070 => (8, 5),
        12_070..12_080 => (8, 6),
        12_080..12_090 => (8, 7),
        12_090..13_000 => (8, 8),
        later => (9, ((later - 13_000) / 10).max(0) as u32),
    }
}

const DEFAULT_DRIVER: i32 = 13_000;

impl Config {
    fn from_environment() -> Config {
        let mut config = Config {
            devices: vec![&crate::model::MODELS[2]],
            driver_version: DEFAULT_DRIVER,
            checks: Checks::default(),
            leaks: true,
            schedule: Schedule::default(),
            profile: None,
            log: true,
        };
        for (key, variable) in [
            ("device", "VIRTUAL_GPU_DEVICE"),
            ("driver", "VIRTUAL_GPU_DRIVER"),
            ("check", "VIRTUAL_GPU_CHECK"),
            ("schedule", "VIRTUAL_GPU_SCHEDULE"),
            ("profile", "VIRTUAL_GPU_PROFILE"),
            ("fault", "VIRTUAL_GPU_FAULT"),
            ("log", "VIRTUAL_GPU_LOG"),
        ] {
            if let Ok(value) = std::env::var(variable)
                && let Err(problem) = config.set(key, &value)
            {
                eprintln!("virtual-gpu: {variable}={value}: {problem}; ignored");
            }
        }
        config
    }

    /// Sets one key as the environment and `vgpu_configure` spell it; the error says what would be right.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        match key {
            "device" => self.devices = parse_devices(value)?,
            "driver" => self.driver_version = parse_version(value)?,
            "check" => parse_checks(value, &mut self.checks, &mut self.leaks)?,
            "schedule" => {
                let seed = value.parse().map_err(|_| "a schedule is a number, the seed".to_owned())?;
                self.schedule = Schedule { seed };
            }
            "profile" => self.profile = (!value.is_empty()).then(|| value.to_owned()),
            "fault" => Injection::parse(value)?.install(),
            "log" => self.log = value != "0",
            _ => return Err(format!("there is no setting called {key}")),
        }
        Ok(())
    }
}

fn parse_devices(text: &str) -> Result<Vec<&'static DeviceModel>, String> {
    let mut devices = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let (count, name) = match name.split_once('x') {
            Some((count, rest)) if !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()) => {
                (count.parse::<usize>().map_err(|error| error.to_string())?, rest)
            }
            _ => (1, name),
        };
        let model = DeviceModel::find(name).ok_or_else(|| {
            let known: Vec<_> = crate::model::MODELS.iter().map(|model| model.id).collect();
            format!("no model is called {name}; there are {} (several: `2xh100`, `h100,a100`)", known.join(", "))
        })?;
        devices.extend(std::iter::repeat_n(model, count));
    }
    if devices.is_empty() || devices.len() > 64 {
        return Err(format!("between 1 and 64 devices, not {}", devices.len()));
    }
    Ok(devices)
}

fn parse_version(text: &str) -> Result<i32, String> {
    let wrong = || format!("a driver version is written 12.0 to 13.x or 12000 to 13999, not {text}");
    let version = match text.split_once('.') {
        Some((major, minor)) => {
            let major: i32 = major.parse().map_err(|_| wrong())?;
            let minor: i32 = minor.parse().map_err(|_| wrong())?;
            major.checked_mul(1_000).and_then(|major| major.checked_add(minor.checked_mul(10)?)).ok_or_else(wrong)?
        }
        None => text.parse().map_err(|_| wrong())?,
    };
    if (12_000..14_000).contains(&version) { Ok(version) } else { Err(wrong()) }
}

/// `all`, `none`, or names, each optionally after `-` to take it away: `races,memory` sets exactly these two,
/// `-races` takes one from what was on.
fn parse_checks(text: &str, checks: &mut Checks, leaks: &mut bool) -> Result<(), String> {
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let mut new = *checks;
    let mut new_leaks = *leaks;
    let set_all = |checks: &mut Checks, leaks: &mut bool, on: bool| {
        for check in [
            &mut checks.memory,
            &mut checks.uninitialised,
            &mut checks.races,
            &mut checks.convergence,
            &mut checks.asynchrony,
            &mut checks.limits,
            leaks,
        ] {
            *check = on;
        }
    };
    if words.iter().any(|word| !word.starts_with('-')) {
        set_all(&mut new, &mut new_leaks, false);
    }
    for word in words {
        let (on, name) = match word.strip_prefix('-') {
            Some(name) => (false, name),
            None => (true, word),
        };
        match name {
            "all" => set_all(&mut new, &mut new_leaks, on),
            "none" => set_all(&mut new, &mut new_leaks, !on),
            "memory" => new.memory = on,
            "uninitialised" | "uninitialized" | "init" => new.uninitialised = on,
            "races" => new.races = on,
            "convergence" => new.convergence = on,
            "asynchrony" => new.asynchrony = on,
            "limits" => new.limits = on,
            "leaks" => new_leaks = on,
            _ => {
                return Err(format!(
                    "no check is called {name}; there are memory, uninitialised, races, convergence, asynchrony, \
                     limits, leaks, all and none"
                ));
            }
        }
    }
    *checks = new;
    *leaks = new_leaks;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_lists_with_counts() {
        let ids = |text| parse_devices(text).map(|list| list.iter().map(|model| model.id).collect::<Vec<_>>());
        assert_eq!(ids("h100"), Ok(vec!["h100"]));
        assert_eq!(ids("2xh100, a100"), Ok(vec!["h100", "h100", "a100"]));
        assert_eq!(ids("rtx4090"), Ok(vec!["rtx4090"]));
        assert!(ids("voodoo").is_err() && ids("").is_err() && ids("900xh100").is_err());
    }

    #[test]
    fn versions_come_in_two_spellings() {
        assert_eq!(parse_version("12.8"), Ok(12_080));
        assert_eq!(parse_version("13000"), Ok(13_000));
        assert!(parse_version("11.8").is_err() && parse_version("x").is_err());
        assert_eq!((newest_ptx(12_080), newest_ptx(13_010)), ((8, 7), (9, 1)));
    }

    #[test]
    fn checks_are_chosen_or_taken_away() {
        let (mut checks, mut leaks) = (Checks::default(), true);
        parse_checks("-races,-leaks", &mut checks, &mut leaks).unwrap();
        assert!(!checks.races && !leaks && checks.memory);
        parse_checks("memory", &mut checks, &mut leaks).unwrap();
        assert!(checks.memory && !checks.limits && !checks.convergence);
        assert!(parse_checks("everything", &mut checks, &mut leaks).is_err());
    }
}
