"""Two fits on real data: handwritten digits with a small network, and breast cancer with a logistic regression.

Run it with `make demo`, or `python examples/digits.py` where mlgrad and its extra `demo` are installed.
The network's loss is plain NumPy. Beside it stand the gradients that one would write by hand, as a check and as a
stopwatch; the training itself uses mlgrad's.
"""

import time

import numpy as np
import scipy.optimize
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import mlgrad

EPOCHS = 100
BATCH = 64
LEARNING_RATE = 0.2
MOMENTUM = 0.9
NOISE = 0.4  # standard deviation of the noise that is added to the training images, against overfitting


def initial_parameters(rng):
    """Weights of a 64-128-10 network."""
    return {
        "w1": rng.standard_normal((64, 128)) / np.sqrt(64),
        "b1": np.zeros(128),
        "w2": rng.standard_normal((128, 10)) / np.sqrt(128),
        "b2": np.zeros(10),
    }


def logits(params, x):
    """Scores of the ten digits, shape (n, 10), for images of shape (n, 64)."""
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss(params, x, target):
    """Mean cross-entropy; target has shape (n, 10), one 1 a row."""
    z = logits(params, x)
    z = z - np.max(z, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(z), axis=1)) - np.sum(target * z, axis=1))


def loss_and_gradients_by_hand(params, x, target):
    """Compute the same as value_and_grad(loss), with the derivatives worked out on paper."""
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    z = hidden @ params["w2"] + params["b2"]
    z -= np.max(z, axis=1, keepdims=True)
    e = np.exp(z)
    total = np.sum(e, axis=1)
    value = np.mean(np.log(total) - np.sum(target * z, axis=1))
    dz = (e / total[:, None] - target) / len(x)
    dpre = dz @ params["w2"].T * (1.0 - hidden * hidden)
    gradients = {"w1": x.T @ dpre, "b1": np.sum(dpre, axis=0), "w2": hidden.T @ dz, "b2": np.sum(dz, axis=0)}
    return value, gradients


def step(value_and_gradients, params, velocity, x, target, rate):
    """One step of gradient descent with momentum, in place; returns the loss."""
    value, gradients = value_and_gradients(params, x, target)
    for name, g in gradients.items():
        velocity[name] *= MOMENTUM
        velocity[name] -= rate * g
        params[name] += velocity[name]
    return value


def train(value_and_gradients, params, images, targets, rng, epochs, progress):
    """Stochastic gradient descent; the learning rate falls to zero along a cosine."""
    velocity = {name: np.zeros_like(p) for name, p in params.items()}
    batches = len(images) // BATCH
    total = epochs * batches
    done = 0
    with tqdm(total=total, desc="training", unit="step", disable=not progress) as bar:
        for _ in range(epochs):
            order = rng.permutation(len(images))
            for k in range(batches):
                pick = order[k * BATCH : (k + 1) * BATCH]
                noisy = images[pick] + NOISE * rng.standard_normal((BATCH, images.shape[1]))
                rate = LEARNING_RATE * 0.5 * (1.0 + np.cos(np.pi * done / total))
                value = step(value_and_gradients, params, velocity, noisy, targets[pick], rate)
                done += 1
            bar.update(batches)
            bar.set_postfix(loss=f"{value:.4f}")
    return params


def best_times(functions, rounds=30, repeats=20):
    """Seconds a call of each function: the best of interleaved rounds."""
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for k, f in enumerate(functions):
            start = time.perf_counter()
            for _ in range(repeats):
                f()
            best[k] = min(best[k], (time.perf_counter() - start) / repeats)
    return best


def digits(epochs=EPOCHS, progress=True):
    """Train the network; returns the accuracy on images that it has not seen."""
    pixels, labels = load_digits(return_X_y=True)
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        pixels / 16.0, labels, test_size=0.2, random_state=0, stratify=labels
    )
    mean = seen.mean(axis=0)
    seen, unseen = seen - mean, unseen - mean
    targets = np.eye(10)[seen_labels]
    print(f"Handwritten digits: {len(seen)} images to learn from, {len(unseen)} held out, network 64-128-10")

    rng = np.random.default_rng(0)
    params = initial_parameters(rng)
    value_and_gradients = mlgrad.jit(mlgrad.value_and_grad(loss))
    train(value_and_gradients, params, seen, targets, rng, epochs, progress)
    accuracy = float(np.mean(np.argmax(logits(params, unseen), axis=1) == unseen_labels))
    print(f"  held-out accuracy {accuracy:.1%}")

    x, target = seen[:BATCH], targets[:BATCH]
    start = initial_parameters(np.random.default_rng(1))
    value, gradients = value_and_gradients(start, x, target)
    by_hand_value, by_hand = loss_and_gradients_by_hand(start, x, target)
    difference = max(abs(value - by_hand_value), *(np.max(np.abs(gradients[k] - by_hand[k])) for k in by_hand))
    print(f"  gradients agree with those by hand to {difference:.1e}")
    if not difference < 1e-10:
        raise SystemExit("the gradients differ from those by hand")

    def stepper(function):
        params = {k: v.copy() for k, v in start.items()}
        velocity = {k: np.zeros_like(v) for k, v in params.items()}
        return lambda: step(function, params, velocity, x, target, 1e-3)

    threads = mlgrad.num_threads()
    mlgrad.set_num_threads(1)
    with threadpool_limits(1):
        ours, theirs = best_times([stepper(value_and_gradients), stepper(loss_and_gradients_by_hand)])
    mlgrad.set_num_threads(threads)
    print("  one training step, one thread each, best of 30 interleaved rounds:")
    print(f"    mlgrad, jit(value_and_grad(loss))  {ours * 1e6:7.1f} us")
    print(f"    NumPy, gradients by hand           {theirs * 1e6:7.1f} us   ({theirs / ours:.2f} times as long)")
    return accuracy


def breast_cancer():
    """Logistic regression through SciPy's minimiser; returns the accuracy on patients that it has not seen."""
    data, labels = load_breast_cancer(return_X_y=True)
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        data, labels, test_size=0.25, random_state=0, stratify=labels
    )
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    seen, unseen = (seen - mean) / spread, (unseen - mean) / spread
    sign = 2.0 * seen_labels - 1.0

    def objective(w):
        margins = sign * (seen @ w[1:] + w[0])
        return np.mean(np.logaddexp(0.0, -margins)) + 1e-2 * np.sum(w[1:] ** 2)

    fit = scipy.optimize.minimize(mlgrad.value_and_grad(objective), np.zeros(seen.shape[1] + 1), jac=True)
    accuracy = float(np.mean((unseen @ fit.x[1:] + fit.x[0] > 0) == unseen_labels))
    print(
        f"Breast cancer: logistic regression of {len(fit.x)} coefficients, {len(seen)} patients, {len(unseen)} held out"
    )
    print(f"  scipy.optimize.minimize: {fit.message} after {fit.nit} iterations, loss {fit.fun:.4f}")
    print(f"  largest slope at the optimum {np.max(np.abs(fit.jac)):.1e}, held-out accuracy {accuracy:.1%}")
    return accuracy


def main():
    """Fit both, and complain if the digits come out worse than they should."""
    accuracy = digits()
    breast_cancer()
    if accuracy < 0.97:
        raise SystemExit(f"held-out accuracy {accuracy:.1%} is below 97 %")


if __name__ == "__main__":
    main()
