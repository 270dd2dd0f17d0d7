// Batch norm of gates and attention pooling, see body_recurrence_norm.h, body_recurrence_attend.h.

static void norm_forward(const NormArgs& a, std::int64_t begin, std::int64_t end) {
  const Sequences& q = a.sequences;
  const Element e = a.element;
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    for (std::int64_t c = k.channels.first; c < k.channels.first + k.channels.count; ++c) {
      const std::int64_t channel = k.direction * a.width + c;
      const std::int64_t origin = k.direction * a.taps * a.width + c;
      double rows = 0, mean = 0, deviation = 0;
      for (std::int64_t n = k.begin; n < k.end; ++n) {
        const std::int64_t steps = sequence_length(q, n);
        for (std::int64_t t = 0; t < steps; ++t) {
          const double p =
              sum_of_taps(a.gates, q, e, k.reverse, a.taps, n, t, steps, origin, a.width);
          if (a.sum.data) put(a.sum.data, e, at(a.sum, q, n, t) + channel, p);
          // Welford's update
          const double delta = p - mean;
          mean += delta / ++rows;
          deviation += delta * (p - mean);
        }
        clear_padding(a.sum, q, e, n, channel, 1);
      }
      const std::int64_t channels = a.directions * a.width;
      double* moments = a.moments + k.begin / kGroup * 2 * channels + channel;
      moments[0] = mean;
      moments[channels] = deviation;
    }
  }
}

static void norm_backward(const NormArgs& a, std::int64_t begin, std::int64_t end) {
  const Sequences& q = a.sequences;
  const Element e = a.element, real = arithmetic(a.element);
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    for (std::int64_t c = k.channels.first; c < k.channels.first + k.channels.count; ++c) {
      const std::int64_t channel = k.direction * a.width + c;
      const std::int64_t origin = k.direction * a.taps * a.width + c;
      for (std::int64_t n = k.begin; n < k.end; ++n) {
        const std::int64_t steps = sequence_length(q, n);
        if (a.dy.data != a.gradient.data)
          clear_taps(a.gradient, q, e, a.taps, n, origin, a.width);
        else
          clear_padding(a.gradient, q, e, n, origin, 1);
        for (std::int64_t t = 0; t < steps; ++t) {
          const double p = get(a.sum.data, e, at(a.sum, q, n, t) + channel);
          const double dy = get(a.dy.data, e, at(a.dy, q, n, t) + channel);
          const double d = dy + get(a.offset, real, channel) +
                           (p - get(a.mean, real, channel)) * get(a.slope, real, channel);
          spread_to_taps(a.gradient, q, e, k.reverse, a.taps, n, t, steps, origin, a.width, d);
        }
      }
    }
  }
}

static void attend_forward(const AttendArgs& a, std::int64_t begin, std::int64_t end) {
  const Sequences& q = a.sequences;
  const Element e = a.element;
  for (std::int64_t n = begin; n < end; ++n) {
    const std::int64_t steps = sequence_length(q, n);
    for (std::int64_t head = 0; head < a.heads; ++head) {
      double largest = -1e300, total = 0;
      for (std::int64_t t = 0; t < steps; ++t) {
        const double logit = get(a.weights.data, e, at(a.weights, q, n, t) + head);
        if (!(logit <= largest)) largest = logit;
      }
      for (std::int64_t t = 0; t < steps; ++t) {
        total += exp(get(a.weights.data, e, at(a.weights, q, n, t) + head) - largest);
      }
      for (std::int64_t t = 0; t < steps; ++t) {
        const double w = exp(get(a.weights.data, e, at(a.weights, q, n, t) + head) - largest);
        put(a.out_weights.data, e, at(a.out_weights, q, n, t) + head, w / total);
      }
    }
    clear_padding(a.out_weights, q, e, n, 0, a.heads);
    for (std::int64_t c = 0; c < a.width; ++c) {
      const std::int64_t head = c / (a.width / a.heads);
      double sum = 0;
      for (std::int64_t t = 0; t < steps; ++t) {
        sum += get(a.out_weights.data, e, at(a.out_weights, q, n, t) + head) *
               get(a.states.data, e, at(a.states, q, n, t) + c);
      }
      put(a.pooled, e, n * a.width + c, sum);
    }
  }
}

static void attend_backward(const AttendArgs& a, std::int64_t begin, std::int64_t end) {
  const Sequences& q = a.sequences;
  const Element e = a.element;
  const std::int64_t size = a.width / a.heads;
  for (std::int64_t n = begin; n < end; ++n) {
    const std::int64_t steps = sequence_length(q, n);
    for (std::int64_t head = 0; head < a.heads; ++head) {
      double mean = 0;
      for (int pass = 0; pass < 2; ++pass) {
        for (std::int64_t t = 0; t < steps; ++t) {
          const double w = get(a.out_weights.data, e, at(a.out_weights, q, n, t) + head);
          double gw = 0;
          for (std::int64_t c = head * size; c < (head + 1) * size; ++c) {
            const double gv = get(a.gpooled, e, n * a.width + c);
            gw += gv * get(a.states.data, e, at(a.states, q, n, t) + c);
            put(a.gstates.data, e, at(a.gstates, q, n, t) + c, w * gv);
          }
          if (pass == 0)
            mean += w * gw;
          else
            put(a.glogits.data, e, at(a.glogits, q, n, t) + head, w * (gw - mean));
        }
      }
    }
    clear_padding(a.gstates, q, e, n, 0, a.width);
    clear_padding(a.glogits, q, e, n, 0, a.heads);
  }
}
