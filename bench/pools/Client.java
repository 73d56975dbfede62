// A client program of a scene: the JDK's HttpClient, and its older URLConnection where it leaks. `java Client.java WANT`: as client.py.
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Client {
    static String value(String want, String name, String otherwise) {
        Matcher found = Pattern.compile("\"" + name + "\": *\"?([^\",}]*)").matcher(want);
        return found.find() ? found.group(1) : otherwise;
    }

    public static void main(String[] arguments) throws Exception {
        String want = arguments[0];
        URI uri = URI.create("http://" + value(want, "address", "") + ":" + value(want, "port", "") + "/");
        URI small = uri;
        String does = value(want, "does", "");
        List<InputStream> kept = new ArrayList<>();
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        System.out.println("ready");
        double rate = Double.parseDouble(value(want, "rate", "1"));
        double everySeconds = Double.parseDouble(value(want, "every_s", "0.1"));
        while (true) {
            try {
                if (does.equals("leak")) {
                    // Neither read nor closed: the connection is never given back.
                    kept.add(small.toURL().openConnection().getInputStream());
                    Thread.sleep((long) (1000 / rate));
                } else {
                    client.send(HttpRequest.newBuilder(small).build(), HttpResponse.BodyHandlers.discarding());
                    Thread.sleep((long) (1000 * everySeconds));
                }
            } catch (java.io.IOException e) {
                System.err.println(e);
                Thread.sleep(100);
            }
        }
    }
}
