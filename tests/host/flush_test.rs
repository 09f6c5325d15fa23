// SPDX-License-Identifier: GPL-2.0

use crate::flush::{Plan, Step};

/// The steps that are begun if step number `fails` (from 0) fails.
fn run(plan: Plan, fails: Option<usize>) -> Vec<Step> {
    let mut begun = Vec::new();
    let mut next = plan.next(None);

    while let Some(step) = next {
        begun.push(step);
        assert!(begun.len() <= 3, "{plan:?} does not end");
        next = (fails != Some(begun.len() - 1))
            .then(|| plan.next(Some(step)))
            .flatten();
    }
    begun
}

const fn plan(preflush: bool, data: bool, fua: bool) -> Plan {
    Plan {
        preflush,
        data,
        fua,
    }
}

#[test]
fn all_combinations() {
    use Step::{Data, Postflush, Preflush};

    assert_eq!(run(plan(false, false, false), None), []);
    assert_eq!(run(plan(true, false, false), None), [Preflush]);
    assert_eq!(run(plan(false, true, false), None), [Data]);
    assert_eq!(run(plan(true, true, false), None), [Preflush, Data]);
    assert_eq!(run(plan(false, true, true), None), [Data, Postflush]);
    assert_eq!(
        run(plan(true, true, true), None),
        [Preflush, Data, Postflush]
    );
    // FUA without data asks for nothing beyond the preflush.
    assert_eq!(run(plan(false, false, true), None), []);
    assert_eq!(run(plan(true, false, true), None), [Preflush]);
}

#[test]
fn no_step_follows_one_that_failed() {
    for bits in 0..8 {
        let plan = plan(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        let all = run(plan, None);

        for fails in 0..all.len() {
            assert_eq!(run(plan, Some(fails)), all[..=fails], "{plan:?}");
        }
    }
}

#[test]
fn data_moves_once_and_flushes_stand_on_its_right_side() {
    for bits in 0..8 {
        let plan = plan(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        let steps = run(plan, None);
        let at = |step| steps.iter().position(|s| *s == step);

        assert_eq!(
            steps.iter().filter(|s| **s == Step::Data).count(),
            usize::from(plan.data)
        );
        if let (Some(flush), Some(data)) = (at(Step::Preflush), at(Step::Data)) {
            assert!(flush < data);
        }
        if let Some(flush) = at(Step::Postflush) {
            assert!(at(Step::Data).unwrap() < flush);
        }
    }
}
