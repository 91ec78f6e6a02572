"""The simulated clock: the seconds that each client's device needs for one round. Called as `clock.seconds(client_ids, seed)`."""

from fedlab.clock.clocks import Clock, Constant, HalfNormal, LogNormal, NoClock, Trace, Uniform

__all__ = ["Clock", "Constant", "HalfNormal", "LogNormal", "NoClock", "Trace", "Uniform"]
