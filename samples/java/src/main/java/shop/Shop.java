package shop;

import com.google.rpc.RetryInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import kairos.common.v1.Degradation;
import kairos.common.v1.Event;
import kairos.common.v1.EventType;
import kairos.common.v1.Money;
import kairos.common.v1.ProductFilter;
import kairos.gateway.v1.GatewayServiceGrpc;
import kairos.gateway.v1.GatewayServiceGrpc.GatewayServiceBlockingStub;
import kairos.gateway.v1.RecommendRequest;
import kairos.gateway.v1.RecordEventsRequest;
import kairos.gateway.v1.Result;
import kairos.gateway.v1.SearchRequest;

/**
 * Searches, recommends, and reports a click: what a shop's back end does for one page.
 *
 * <p>KAIROS_TARGET (127.0.0.1:50050) is the gateway. KAIROS_API_KEY is the key, KAIROS_TLS=1 turns TLS on.
 */
public final class Shop {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private Shop() {}

  public static void main(String[] arguments) throws InterruptedException {
    ManagedChannelBuilder<?> builder = ManagedChannelBuilder.forTarget(environment("KAIROS_TARGET", "127.0.0.1:50050"));
    if (!environment("KAIROS_TLS", "").equals("1")) {
      builder.usePlaintext();
    }
    ManagedChannel channel = builder.build();
    try {
      serve(withKey(GatewayServiceGrpc.newBlockingStub(channel)), arguments.length > 0 ? arguments[0] : "hiking backpack");
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static void serve(GatewayServiceBlockingStub kairos, String query) throws InterruptedException {
    var session = UUID.randomUUID().toString();
    // The deadline is the latency budget: the answer comes within it.
    var found = kairos.withDeadlineAfter(500, TimeUnit.MILLISECONDS).search(
        SearchRequest.newBuilder().setQuery(query).setUserId("ana").setSessionId(session).setPageSize(5)
            .setFilter(ProductFilter.newBuilder().setInStockOnly(true)).build());
    var title = "Search for " + query + ": " + found.getTotalSize() + " products";
    show(title, found.getResultsList(), found.getDegradationsList());

    var recommended = kairos.withDeadlineAfter(500, TimeUnit.MILLISECONDS).recommend(
        RecommendRequest.newBuilder().setUserId("ana").setSessionId(session).setPageSize(5).build());
    show("Recommended", recommended.getResultsList(), recommended.getDegradationsList());

    if (found.getResultsCount() == 0) {
      return;
    }
    // Your own id: an event that is sent again counts once, so that a write may be tried again.
    var click = Event.newBuilder().setEventId(UUID.randomUUID().toString()).setUserId("ana").setSessionId(session)
        .setItemId(found.getResults(0).getProduct().getId()).setType(EventType.EVENT_TYPE_CLICK)
        .setAttributionToken(found.getAttributionToken()).build();
    var request = RecordEventsRequest.newBuilder().addEvents(click).build();
    var recorded = retried(kairos, 10_000, stub -> stub.recordEvents(request));
    System.out.printf("Recorded %d event, %d known before%n", recorded.getRecordedCount(), recorded.getDuplicateCount());
  }

  /**
   * Tries a write again while there is time: after RESOURCE_EXHAUSTED as late as the gateway says, after UNAVAILABLE
   * with a growing, random pause. Reads have fallbacks: show their degraded answer instead.
   */
  private static <T> T retried(
      GatewayServiceBlockingStub kairos, long deadlineMs, Function<GatewayServiceBlockingStub, T> call)
      throws InterruptedException {
    long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(deadlineMs);
    for (int attempt = 0; ; attempt++) {
      try {
        return call.apply(kairos.withDeadlineAfter(end - System.nanoTime(), TimeUnit.NANOSECONDS));
      } catch (StatusRuntimeException error) {
        var pauseMs = pauseAfter(error, attempt);
        if (pauseMs.isEmpty() || System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(pauseMs.get()) >= end) {
          throw error;
        }
        Thread.sleep(pauseMs.get());
      }
    }
  }

  private static Optional<Long> pauseAfter(StatusRuntimeException error, int attempt) {
    if (error.getStatus().getCode() == Status.Code.UNAVAILABLE) {
      return Optional.of((long) (100 * Math.pow(2, attempt) * ThreadLocalRandom.current().nextDouble(0.5, 1.5)));
    }
    var status = StatusProto.fromThrowable(error);
    if (error.getStatus().getCode() != Status.Code.RESOURCE_EXHAUSTED || status == null) {
      return Optional.empty();
    }
    return status.getDetailsList().stream().filter(detail -> detail.is(RetryInfo.class)).findFirst().map(detail -> {
      try {
        var delay = detail.unpack(RetryInfo.class).getRetryDelay();
        return TimeUnit.SECONDS.toMillis(delay.getSeconds()) + delay.getNanos() / 1_000_000;
      } catch (com.google.protobuf.InvalidProtocolBufferException broken) {
        throw error;
      }
    });
  }

  private static void show(String title, List<Result> results, List<Degradation> degradations) {
    System.out.println(title);
    for (var result : results) {
      var product = result.getProduct();
      var price = result.hasPrice() ? money(result.getPrice().getOffer()) : "no price";
      System.out.printf("  %d. %s (%s) %s%n", result.getPosition(), product.getTitle(), product.getId(), price);
    }
    // A degraded answer is a whole answer: show it, and count what was given up.
    for (var one : degradations) {
      System.out.printf("  degraded: %s %s, the answer holds: %s%n", one.getStage(), one.getReason(), one.getFallback());
    }
  }

  private static String money(Money money) {
    return String.format("%s %.2f", money.getCurrencyCode(), money.getUnits() + money.getNanos() / 1e9);
  }

  private static GatewayServiceBlockingStub withKey(GatewayServiceBlockingStub kairos) {
    var key = environment("KAIROS_API_KEY", "");
    if (key.isEmpty()) {
      return kairos;
    }
    var metadata = new Metadata();
    metadata.put(AUTHORIZATION, "Bearer " + key);
    return kairos.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  private static String environment(String name, String otherwise) {
    return Optional.ofNullable(System.getenv(name)).filter(value -> !value.isEmpty()).orElse(otherwise);
  }
}
