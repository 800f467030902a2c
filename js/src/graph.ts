/** The bundle of an attribution graph, which no other view carries. */
import { widgetOf } from "./entry";
import { View } from "./views/graph/root";

export default widgetOf(View);
