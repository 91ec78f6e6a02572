"""CKKS: parameters that serve and no weaker ones, a server that cannot decrypt, sizes that are real, processes that end."""

from __future__ import annotations

import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pydantic
import pytest
import tenseal

from fedlab.errors import ConfigError, FedlabError
from fedlab.secure import Ckks, Layout, he_cost
from fedlab.secure.ckks import Ciphertexts, CkksServer, Encryptor, KeyHolder
from fedlab.secure.ckks_parameters import MOST_BITS, NOISE_BOUND, cheapest, chosen
from fedlab.secure.workers import Workers

# Parameters


@pytest.mark.parametrize("encryption", ["symmetric", "public_key"])
@pytest.mark.parametrize(("precision", "num_clients"), [(1e-2, 2), (1e-2, 50), (1e-4, 10), (1e-6, 2), (1e-6, 50), (1e-8, 10)])
def test_the_cheapest_parameters_reach_the_precision_they_promise(encryption, precision, num_clients):
    parameters = cheapest(precision, 64.0, num_clients, encryption)
    assert sum(parameters.coeff_mod_bit_sizes) <= MOST_BITS[parameters.poly_modulus_degree]
    holder = KeyHolder(parameters)
    encryptor, server = Encryptor(holder.client_context()), CkksServer(holder.public_context())
    rng, total = np.random.default_rng(0), np.zeros((2, parameters.num_slots))
    for _ in range(num_clients):
        rows = rng.uniform(-64, 64, total.shape)
        rows[0, :2] = 64, -64  # the bound itself, by every client
        server.receive(Ciphertexts(tuple(encryptor(rows))))
        total += rows
    error = np.abs(holder.decrypt(server.sum().ciphertext, precision) - total).max()
    assert error <= precision
    assert error > precision / 4  # and no more than was asked for: half of it is the rounding


@pytest.mark.parametrize("encryption", ["symmetric", "public_key"])
def test_the_noise_is_what_the_parameters_say(encryption):
    parameters = cheapest(1e-3, 8.0, 4, encryption)
    holder = KeyHolder(parameters)
    encryptor, server = Encryptor(holder.client_context()), CkksServer(holder.public_context())
    rows = np.random.default_rng(0).uniform(-1, 1, (3, parameters.num_slots))
    for _ in range(4):
        server.receive(Ciphertexts(tuple(encryptor(rows))))
    noise = holder.decrypt(server.sum().ciphertext, 1e-12) - 4 * rows
    assert parameters.noise_std(4) * 0.85 < noise.std() < parameters.noise_std(4) * 1.1


def test_the_noise_of_public_keys_is_that_of_laplace_and_stays_within_the_bound():
    """204,800 values under 20 keys. Beyond t deviations lie exp(−√2 t) of them, and 1e-7 values are expected beyond the bound; of
    a Gaussian, 6e-5 would lie beyond 4. The share there has a standard deviation of 2e-4."""
    parameters = cheapest(1e-3, 8.0, 1, "public_key")
    noise = []
    for _ in range(20):
        holder = KeyHolder(parameters)
        encrypted = Encryptor(holder.client_context())(np.zeros((10, 1024)))
        noise.append(holder.decrypt(encrypted, 1e-12))
    share = np.mean(np.abs(noise) > 4 * parameters.noise_std(1) / slack(parameters))
    assert np.abs(noise).max() <= parameters.noise(1)
    assert 0.002 < share < 0.0055


def slack(parameters):
    """By how much `noise_std` is above √(N/18), which is all but what encryption by the public key adds."""
    return np.sqrt(1 + 18 * 3.4**2 / parameters.poly_modulus_degree)


@pytest.mark.parametrize("degree", MOST_BITS)
def test_the_chance_of_more_noise_than_the_bound_is_what_is_claimed(degree):
    """Chernoff's bound, min over θ of 2 E[exp(θ noise)] exp(−θ bound), as docs/security.md derives it, for one client."""
    half = degree / 2
    # Secret key: a sub-Gaussian variance of 3.4² per coefficient
    assert 2 * math.exp(-(NOISE_BOUND["symmetric"] ** 2) / 2) < 5e-11
    # Public key: the rounding of either half of the ciphertext and of the encoded values, times the key or alone
    b, variance = math.sqrt(half / 12 * 2 * half / 3), 2 * half / 12
    bound = NOISE_BOUND["public_key"] * math.sqrt(half * (degree / 18 + 3.4**2))
    theta = np.linspace(0.5, 0.999, 1000) / b
    exponents = theta**2 * variance / 2 - np.log(1 - (theta * b) ** 2) - theta * bound
    assert 2 * np.exp(exponents.min()) < 5e-11


@pytest.mark.parametrize(
    ("precision", "largest", "encryption", "degree", "num_primes"),
    [
        (1e-2, 1.0, "symmetric", 2048, 1),
        (1e-6, 2.0**16, "symmetric", 4096, 1),
        (1e-12, 1.0, "symmetric", 4096, 1),
        (1e-9, 2.0**14, "public_key", 4096, 2),  # a modulus of 61 bits and more takes two primes
    ],
)
def test_little_is_spent_on_little(precision, largest, encryption, degree, num_primes):
    parameters = cheapest(precision, largest, 2, encryption)
    assert parameters.poly_modulus_degree == degree and len(parameters.coeff_mod_bit_sizes) == num_primes + 1


WEAK = "add up to 200 bits, but degree 4096 is safe at 128 bits with at most 109: use fewer bits or poly_modulus_degree=8192"


@pytest.mark.parametrize(
    ("degree", "bit_sizes", "scale", "message"),
    [
        (4096, (60, 40, 40, 60), 2.0**40, WEAK),
        (3000, (40, 40), 2.0**30, "secure.poly_modulus_degree=3000: choose one of 1024, 2048, 4096"),
        (8192, (60,), 2.0**40, "give two sizes or more"),
        (8192, (61, 40), 2.0**40, "each 16 to 60 bits"),
        (8192, (60, 10), 2.0**40, "each 16 to 60 bits"),
        (4096, (40, 20, 40), 2.0**20, "reaches a precision of .* for 10 clients, secure.precision=1e-06 is asked for"),
        (4096, (40, 40), 2.0**36, "leave 40 bits for the sum of 10 clients within ±100 at scale 2\\^36, which takes 48"),
    ],
)
def test_parameters_that_do_not_serve_are_refused_in_one_line(degree, bit_sizes, scale, message):
    with pytest.raises(ConfigError, match=message) as caught:
        chosen(degree, bit_sizes, scale, 1e-6, 100, 10, "symmetric")
    assert "\n" not in str(caught.value)


def test_own_parameters_that_serve_are_taken():
    spec = Ckks(poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 40, 60], global_scale=2**40, clip_range=4)
    layout = Layout.of([np.zeros(5000, np.float32)])
    values = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32).clip(-4, 4)
    outcome = spec.build(layout, 2).run_round(1, (0, 1), ([v] for v in values))
    assert np.abs(outcome.sum[0] - values.astype(np.float64).sum(0)).max() < 1.3e-6


def test_parameters_go_together():
    with pytest.raises(pydantic.ValidationError, match="go together: set all three or none"):
        Ckks(poly_modulus_degree=8192)


@pytest.mark.parametrize(("options", "layout"), [({"precision": 1e-15}, [np.zeros(3)]), ({}, [np.zeros(3, np.int64)])])
def test_what_float64_cannot_decrypt_is_refused(options, layout):
    with pytest.raises(ConfigError, match=r"beyond float64: raise secure\.precision or lower"):
        Ckks(**options).build(Layout.of(layout), 10)


# Who can read what


@pytest.fixture(scope="module", params=["symmetric", "public_key"])
def holder(request):
    return KeyHolder(cheapest(1e-4, 8.0, 2, request.param))


def test_the_server_cannot_decrypt(holder):
    server = CkksServer(holder.public_context())
    rows = np.full((1, holder.parameters.num_slots), 3.25)
    [ciphertext] = Encryptor(holder.client_context())(rows)
    server.receive(Ciphertexts((ciphertext,)))
    assert not server._context.has_secret_key()
    for ask in (server._sums[0].decrypt, server._context.secret_key):
        with pytest.raises((ValueError, RuntimeError)):
            ask()
    stranger = KeyHolder(holder.parameters)
    assert np.abs(stranger.decrypt([ciphertext], 1e-4) - 3.25).mean() > 100
    assert np.array_equal(holder.decrypt([ciphertext], 0.25), rows)


def test_only_the_public_context_leaves_a_key_holder_of_public_keys(holder):
    client = tenseal.context_from(holder.client_context())
    assert client.has_secret_key() == (holder.parameters.encryption == "symmetric")
    server = tenseal.context_from(holder.public_context())
    assert not server.has_secret_key() and not server.has_galois_keys() and not server.has_relin_keys()


def test_equal_values_have_unequal_ciphertexts(holder):
    encrypt = Encryptor(holder.client_context())
    row = np.ones((1, holder.parameters.num_slots))
    assert len({encrypt(row)[0] for _ in range(5)}) == 5


def test_a_decrypted_sum_lies_on_the_grid(holder):
    """Its last bits, which hold the noise and with it the key, are rounded away."""
    row = np.random.default_rng(0).uniform(-1, 1, (1, holder.parameters.num_slots))
    decrypted = holder.decrypt(Encryptor(holder.client_context())(row), 2.0**-10)
    assert np.array_equal(decrypted * 2**10, np.rint(decrypted * 2**10))


# Sizes and costs


@pytest.mark.parametrize("size", [1, 1000, 2047, 2048, 2049, 10_000])
def test_models_of_any_size_fill_slots_across_layers(size):
    layout = Layout.of([np.zeros(size // 2, np.float32), np.zeros((1, size - size // 2), np.float64)])
    arrays = [np.linspace(-1, 1, t.size, dtype=t.dtype).reshape(t.shape) for t in layout.tensors]
    with Ckks(num_workers=1).build(layout, 2) as protocol:
        outcome = protocol.run_round(1, (0, 1), [arrays, arrays])
    assert protocol.parameters.num_slots == 2048
    for got, array in zip(outcome.sum, arrays):
        assert np.all(np.abs(got - 2 * array.astype(np.float64)) <= 1.2e-6)
    per_ciphertext = 2 * 4096 * 8  # two polynomials, a prime of up to 64 bits; compressed by what the prime leaves free
    sent = {p.name: p.bytes_up for p in outcome.phases}["encrypt"] / 2 / math.ceil(size / 2048)
    assert 0.75 * per_ciphertext < sent < 1.05 * per_ciphertext


def test_nothing_is_said_about_disabled_operations(capfd):
    layout = Layout.of([np.zeros(5000, np.float32)])
    with Ckks(num_workers=1).build(layout, 2) as protocol:
        protocol.run_round(1, (0, 1), [[np.zeros(5000, np.float32)]] * 2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("encryption", ["symmetric", "public_key"])
def test_the_cost_foretold_is_the_cost(encryption):
    spec, size = Ckks(encryption=encryption, num_workers=1), 9000
    cost = he_cost(size, 3, spec)
    values = [[np.full(size, 0.1, np.float32)]] * 3
    protocol = spec.build(Layout.of(values[0]), 3)
    phases = {p.name: p for p in protocol.run_round(1, (0, 1, 2), values).phases}
    assert cost.num_ciphertexts == 5
    assert cost.megabytes_per_client * 3e6 == pytest.approx(phases["encrypt"].bytes_up, rel=0.01)
    assert cost.megabytes_down * 1e6 == pytest.approx(phases["decrypt"].bytes_down, rel=0.01)
    assert cost.megabytes_up * 1e6 == pytest.approx(phases["encrypt"].bytes_up + phases["decrypt"].bytes_up, rel=0.01)
    assert cost.noise <= cost.precision / 2
    assert min(cost.seconds_encrypt, cost.seconds_add, cost.seconds_decrypt) > 0
    lines = cost.text().splitlines()
    assert len(lines) == 10 and "5 per client, for 9,000 values" in lines[2]


# Other processes


def test_several_processes_encrypt_the_same_and_end():
    layout = Layout.of([np.zeros(70_000, np.float32)])
    values = np.random.default_rng(0).normal(size=(2, 70_000)).astype(np.float32)
    protocol = Ckks(num_workers=2).build(layout, 2)
    before = set(psutil.Process().children())
    outcome = protocol.run_round(1, (0, 1), ([v] for v in values))
    workers = set(psutil.Process().children()) - before
    assert len(workers) >= 2
    assert np.abs(outcome.sum[0] - values.astype(np.float64).sum(0)).max() < 1.5e-6
    protocol.close()
    assert not any(w.is_running() for w in workers if "spawn_main" in " ".join(w.cmdline() if w.is_running() else ()))
    again = protocol.run_round(2, (0, 1), ([v] for v in values))  # with new keys
    assert np.abs(again.sum[0] - outcome.sum[0]).max() < 3e-6
    protocol.close()


def test_a_process_that_dies_is_reported_and_the_others_end():
    workers = Workers(Encryptor, KeyHolder(cheapest(1e-3, 1.0, 2, "symmetric")).client_context(), 2)
    workers(np.zeros((4, 1024)))
    victims = list(workers._processes)
    victims[0].kill()
    with pytest.raises(FedlabError, match="a process that encrypts ended unexpectedly"):
        workers(np.zeros((4, 1024)))
    assert not victims[1].is_alive()


def test_the_processes_end_with_a_run_that_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import os, signal, numpy as np\n"
        "from fedlab.secure.ckks import Encryptor, KeyHolder\n"
        "from fedlab.secure.ckks_parameters import cheapest\n"
        "from fedlab.secure.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers(Encryptor, KeyHolder(cheapest(1e-3, 1.0, 2, 'symmetric')).client_context(), 2)\n"
        "    workers(np.zeros((2, 1024)))\n"
        "    print(*(p.pid for p in workers._processes), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(pathlib.Path(__file__).parent.parent.parent)
    run = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root})
    pids = [int(pid) for pid in run.stdout.split()]
    assert run.returncode == -signal.SIGKILL and len(pids) == 2
    deadline = time.monotonic() + 1800
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
