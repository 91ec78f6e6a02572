"""From the options of a run to its noise, its δ and what it may say of itself."""

from __future__ import annotations

import math

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

import fedlab.privacy
from fedlab.config.composing import build, config_dir
from fedlab.errors import ConfigError
from fedlab.privacy import Everyone, FixedSize, GaussianAdaptive, GaussianFixed, NoPrivacy, Poisson, Schedule, Tree

COHORT = Poisson(1000, 0.05)
FILES = {"none": NoPrivacy, "gaussian_fixed": GaussianFixed, "gaussian_adaptive": GaussianAdaptive, "tree": Tree}


@pytest.mark.parametrize("name", FILES)
def test_every_option_stands_in_its_file(name):
    node = OmegaConf.load(config_dir() / "privacy" / f"{name}.yaml")
    spec = build(OmegaConf.create({"privacy": node}), "privacy")
    assert type(spec) is FILES[name]
    assert {key for key in node if key != "_target_"} == set(FILES[name].model_fields)
    assert {path.stem for path in (config_dir() / "privacy").iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("{}", "privacy: of noise_multiplier and target_epsilon, neither is given"),
        ("{noise_multiplier: 1, target_epsilon: 2}", "both are given"),
        ("{noise_multiplier: -1}", "privacy.noise_multiplier=-1: must be greater than or equal to 0"),
        ("{noise_multiplier: 1, delta: 1}", "privacy.delta=1: must be less than 1"),
        ("{noise_multiplier: 1, clip_norm: 0}", "privacy.clip_norm=0: must be greater than or equal to 1e-12"),
        ("{noise_multiplier: 1, noise_source: dice}", "must be 'key' or 'seed'"),
        ("{noise_multiplier: 1, simulated_cohort: 5}", "needs the population"),
        ("{noise_multiplier: 1, simulated_cohort: 50, population: 5}", "simulated_cohort=50 exceeds population=5"),
        ("{noise_multiplier: 1, clipnorm: 2}", "Did you mean 'clip_norm'?"),
    ],
)
def test_mistakes_in_options_take_one_line(options, says):
    node = OmegaConf.merge({"_target_": "fedlab.privacy.GaussianFixed"}, OmegaConf.create(options))
    with pytest.raises(ConfigError) as error:
        build(OmegaConf.create({"privacy": node}), "privacy")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_noise_is_as_given_and_delta_follows_the_population():
    plan = GaussianFixed(noise_multiplier=1.5).plan(COHORT, 20)
    assert (plan.noise_multiplier, plan.applied_noise_multiplier, plan.own_ledger) == (1.5, 1.5, None)
    assert plan.delta == pytest.approx(1000**-1.1) and plan.rounds == 20
    assert plan.ledger.spent(20).delta == plan.delta
    with pytest.raises(ConfigError, match=r"set privacy\.delta"):
        GaussianFixed(noise_multiplier=1.5).plan(Everyone(1), 20)


def test_a_target_is_met_by_the_last_round():
    plan = GaussianFixed(target_epsilon=3.0, delta=1e-4).plan(COHORT, 40)
    assert 2.99 < plan.spent(40).epsilon <= 3.0
    assert "ε = 3.000 at δ = 0.0001" in plan.lines()[0]


def test_a_run_stops_before_it_costs_more():
    spec = GaussianFixed(noise_multiplier=1.0, delta=1e-4, stop_at_epsilon=2.0)
    plan = spec.plan(COHORT, 200)
    assert plan.rounds < 200 and plan.spent(plan.rounds).epsilon <= 2.0 < plan.ledger.spent(plan.rounds + 1).epsilon
    assert max(plan.spent(r).epsilon for r in range(1, plan.rounds + 1)) <= 2.0
    with pytest.raises(ConfigError, match="the first round alone costs"):
        GaussianFixed(noise_multiplier=0.1, stop_at_epsilon=2.0).plan(COHORT, 200)


class TestSimulated:
    SPEC = GaussianFixed(noise_multiplier=1.0, clip_norm=0.5, population=1_000_000, simulated_cohort=10_000)

    @pytest.mark.parametrize("cohort", [Poisson(100, 0.1), FixedSize(100, 10), Schedule(100, 10, most=3)])
    def test_an_average_is_as_noisy_as_the_large_federations(self, cohort):
        """z · C / M of it, z' · C / m of the run (McMahan et al. 2018)."""
        plan = self.SPEC.plan(cohort, 50)
        assert plan.applied_noise_multiplier * 0.5 / 10 == pytest.approx(plan.noise_multiplier * 0.5 / 10_000)
        assert plan.noise_multiplier == 1.0
        assert (plan.accounted.population, plan.accounted.expected_cohort) == (1_000_000, pytest.approx(10_000))

    def test_both_figures_are_told_and_which_is_real(self):
        plan = self.SPEC.plan(Poisson(100, 0.1), 50)
        large = GaussianFixed(noise_multiplier=1.0).plan(Poisson(1_000_000, 0.01), 50)
        own = GaussianFixed(noise_multiplier=0.001).plan(Poisson(100, 0.1), 50)
        assert plan.spent(50) == large.spent(50)
        assert plan.own_ledger.spent(50).epsilon == own.ledger.spent(50).epsilon > 1000 * plan.spent(50).epsilon
        text = " ".join(plan.lines())
        assert "1,000,000 users with cohorts of 10,000" in text and "The run's own 100 clients have a noise multiplier" in text

    def test_adaptive_clipping_scales_both_noises(self):
        spec = GaussianAdaptive(noise_multiplier=1.0, population=1_000_000, simulated_cohort=10_000, clipped_count_stddev=300.0)
        plan = spec.plan(Poisson(100, 0.1), 50)
        assert plan.spec.most_noise(plan.accounted) == pytest.approx(600.0)
        assert plan.spec.most_noise(plan.sampling) == pytest.approx(0.6)
        assert plan.applied_noise_multiplier == pytest.approx(0.001)

    @pytest.mark.parametrize(
        ("options", "cohort", "says"),
        [
            ({"population": 10**6}, COHORT, "set privacy.simulated_cohort"),
            ({"population": 500, "simulated_cohort": 400}, COHORT, "must not be smaller"),
            ({"population": 5000, "simulated_cohort": 10}, COHORT, "must not be smaller"),
            ({"population": 5000, "simulated_cohort": 1000}, Everyone(100), "make them equal"),
        ],
    )
    def test_what_cannot_be_simulated_is_refused(self, options, cohort, says):
        with pytest.raises(ConfigError, match=says):
            GaussianFixed(noise_multiplier=1.0, **options).plan(cohort, 10)


class TestAdaptive:
    def test_costs_what_one_gaussian_of_its_noise_costs(self):
        adaptive = GaussianAdaptive(noise_multiplier=1.0).plan(COHORT, 10).spent(10)
        assert adaptive == GaussianFixed(noise_multiplier=1.0).plan(COHORT, 10).spent(10)

    def test_noise_beyond_that_of_the_count_is_refused(self):
        with pytest.raises(ConfigError, match=r"must be below 2 · clipped_count_stddev = 5"):
            GaussianAdaptive(noise_multiplier=5.0).plan(COHORT, 10)
        with pytest.raises(ConfigError, match=r"out of reach.*larger cohorts"):
            GaussianAdaptive(target_epsilon=0.1, delta=1e-6).plan(COHORT, 1000)


def test_without_privacy_nothing_is_claimed():
    plan = NoPrivacy().plan(COHORT, 10)
    assert math.isinf(plan.spent(10).epsilon) and plan.aggregator(0) is None
    assert plan.lines() == ["privacy: none (no noise is added)"]
    spent = GaussianFixed(noise_multiplier=0.0).plan(COHORT, 10).spent(10)
    assert math.isinf(spent.epsilon) and spent.reason


def test_a_careless_delta_is_pointed_out():
    assert "exposing one user" in " ".join(GaussianFixed(noise_multiplier=1.0, delta=0.01).plan(COHORT, 10).lines())
    assert "exposing one user" not in " ".join(GaussianFixed(noise_multiplier=1.0).plan(COHORT, 10).lines())


def test_noise_comes_from_the_runs_key_or_from_its_seed():
    assert GaussianFixed(noise_multiplier=1.0).noise_source == "key"
    assert GaussianFixed(noise_multiplier=1.0, noise_source="seed").noise_source == "seed"
    with pytest.raises(ValidationError, match="noise_source=os is now noise_source=key, the default"):
        GaussianFixed(noise_multiplier=1.0, noise_source="os")


def test_one_spec_gives_the_event_of_its_account():
    spec = GaussianFixed(noise_multiplier=1.0)
    assert spec.event(1.0, COHORT, 7) == spec.account(1.0, COHORT).event(7)
    assert spec.event(1.0, COHORT).count == 1


def test_specs_are_frozen_and_everything_is_public():
    with pytest.raises(ValidationError):
        GaussianFixed(noise_multiplier=1.0).clip_norm = 3.0
    assert all(hasattr(fedlab.privacy, name) for name in fedlab.privacy.__all__)
